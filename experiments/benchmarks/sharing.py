"""What sharing prefixes and remembering evaluations save, on a random Llama of 32 blocks.

    python experiments/benchmarks/sharing.py

Every search removes 7 blocks, once with sharing and once without; the arm without batches its samples just as
well. Then all searches run one after the other on one store. Last, greedy with other numbers of blocks, budgets
and samples. One thread; seconds are of the processor, so that other work on the machine does not count. Writes
sharing.csv, store.csv, growth.csv and evaluator.svg beside this file.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from models import random_llama, random_windows
from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR, build_target
from deprune.core.subset import SearchSpace
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem, Search
from deprune.search.evopress import EvoPress

HERE = Path(__file__).parent
N_BLOCKS, BUDGET, N_SAMPLES, SEQ_LEN, WIDTH, VOCABULARY = 32, 7, 4, 64, 128, 512
PANEL = ("oneshot", "greedy", "beam", "ga", "bo", "cbo", "evopress", "local", "fast_block_select")
EVOPRESS_GENERATIONS = 10
"""Its default at this size is 117, which would say the same more slowly."""


def load_search(name: str) -> Search:
    """Returns a search with its default settings."""
    search = build_target(OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml"), Search, "search")
    return replace(search, generations=EVOPRESS_GENERATIONS) if isinstance(search, EvoPress) else search


def run(
    stack: BlockStack, search: Search, budget: int, n_samples: int, store: EvaluationStore, sharing: bool = True
) -> dict[str, object]:
    """Runs a search; returns what it found and what it cost."""
    windows = random_windows(n_samples, SEQ_LEN, VOCABULARY)
    config = EvaluatorConfig(batch_size=N_SAMPLES, sharing=sharing)
    evaluator = SubsetEvaluator([stack], windows, NegativeLogLikelihood(), config, store)
    own = SubsetEvaluator([stack], windows, NegativeLogLikelihood(), config, store)
    problem = Problem(SearchSpace(stack.n_blocks, budget), evaluator)
    started = time.process_time()
    found = search.run(problem, np.random.default_rng(0)).subset
    seconds = time.process_time() - started
    return {
        "subset": found.bits(),
        "loss": own.losses([found])[0],
        "evaluations": evaluator.counter.computed,
        "block_calls_per_sequence": evaluator.counter.block_calls / n_samples,
        "seconds": round(seconds, 3),
    }


def measure_sharing(stack: BlockStack) -> pd.DataFrame:
    """Returns a row for each search: the same result, with and without sharing."""
    rows = []
    for name in PANEL:
        shared, alone = (
            run(stack, load_search(name), BUDGET, N_SAMPLES, EvaluationStore(None), s) for s in (True, False)
        )
        assert (shared["subset"], shared["loss"]) == (alone["subset"], alone["loss"]), "sharing changed a result"
        rows.append(
            {
                "search": name,
                "evaluations": shared["evaluations"],
                "block_calls_shared": shared["block_calls_per_sequence"],
                "block_calls_alone": alone["block_calls_per_sequence"],
                "seconds_shared": shared["seconds"],
                "seconds_alone": alone["seconds"],
                "times_faster": round(float(alone["seconds"]) / float(shared["seconds"]), 2),  # type: ignore[arg-type]
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def measure_store(stack: BlockStack, alone: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each search in turn, on a store that all share and on an empty one."""
    store, rows = EvaluationStore(None), []
    for name in PANEL:
        row = run(stack, load_search(name), BUDGET, N_SAMPLES, store)
        before = alone.set_index("search").loc[name]
        rows.append(
            {
                "search": name,
                "evaluations_empty_store": before.evaluations,
                "evaluations_shared_store": row["evaluations"],
                "seconds_empty_store": before.seconds_shared,
                "seconds_shared_store": row["seconds"],
            }
        )
    return pd.DataFrame(rows)


def measure_growth(stack: BlockStack) -> pd.DataFrame:
    """Returns the cost of greedy as one of the number of blocks, the budget and the samples varies."""
    greedy, rows = load_search("greedy"), []
    settings = [("blocks", n, random_llama(n, WIDTH, VOCABULARY), 4, N_SAMPLES) for n in (8, 16, 24, 32)]
    settings += [("budget", k, stack, k, N_SAMPLES) for k in (1, 3, 5, 7, 9)]
    settings += [("samples", n, stack, 2, n) for n in (4, 8, 16)]
    for varied, value, model, budget, n_samples in settings:
        row = run(model, greedy, budget, n_samples, EvaluationStore(None))
        calls = sum((model.n_blocks - i) * (model.n_blocks - i - 1) for i in range(budget))
        rows.append({"varied": varied, "value": value, "block_calls_alone": calls, **row})
    return pd.DataFrame(rows).drop(columns=["subset", "loss"])


def draw(sharing: pd.DataFrame, growth: pd.DataFrame) -> None:
    """Draws the seconds of each search, and the block calls of greedy by number of blocks."""
    mpl.rcParams["svg.hashsalt"] = "deprune"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(2, 1), layout="constrained")
    place = np.arange(len(sharing))
    left.bar(place - 0.2, sharing.seconds_alone, 0.4, label="each subset alone", color="#999999")
    left.bar(place + 0.2, sharing.seconds_shared, 0.4, label="shared prefixes", color="#0072b2", hatch="//")
    for x, row in zip(place, sharing.itertuples(), strict=True):
        left.annotate(f"{row.times_faster:.1f}×", (x, row.seconds_alone), ha="center", va="bottom", fontsize=8)
    left.set_xticks(place, sharing.search, rotation=35, ha="right")
    left.set_ylabel("processor seconds")
    left.set_title(f"{N_BLOCKS} blocks, {BUDGET} removed", fontsize=10)
    left.legend(frameon=False)
    by_blocks = growth[growth.varied == "blocks"]
    right.plot(by_blocks.value, by_blocks.block_calls_alone, "o--", color="#777777", label="each subset alone")
    right.plot(by_blocks.value, by_blocks.block_calls_per_sequence, "s-", color="#0072b2", label="shared prefixes")
    right.set(xlabel="blocks N", ylabel="block calls per sequence")
    right.set_title("greedy, 4 removed", fontsize=10)
    right.legend(frameon=False)
    figure.savefig(HERE / "evaluator.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measures, writes the tables and draws the figure."""
    torch.set_num_threads(1)
    stack = random_llama(N_BLOCKS, WIDTH, VOCABULARY)
    sharing = measure_sharing(stack)
    store = measure_store(stack, sharing)
    growth = measure_growth(stack)
    for name, table in (("sharing", sharing), ("store", store), ("growth", growth)):
        table.to_csv(HERE / f"{name}.csv", index=False)
        print(table.to_string(index=False))
    draw(sharing, growth)


if __name__ == "__main__":
    main()
