"""Measures the embedded models: accuracy by task, dense and with blocks removed greedily.

    python experiments/tiny/measure.py

Writes `accuracy.csv` and the picture `accuracy.svg` beside this file.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.downstream.choices import MultipleChoice
from deprune.downstream.scoring import score_models
from deprune.embedded.task_items import WRITERS, load
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import load_model
from deprune.model.pruned import PrunedModel
from deprune.model.source import ModelConfig
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import ACCURACY
from deprune.search.base import Problem
from deprune.search.greedy import Greedy

FAMILIES = ("tiny_llama", "tiny_qwen3", "tiny_neox")
MAX_BUDGET = 6
HERE = Path(__file__).parent
# Okabe and Ito's colours, told apart by the colour-blind, and markers for print in grey.
STYLES = dict(
    zip(
        WRITERS,
        zip(["#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00", "#CC79A7"], "osv^Dx", strict=True),
        strict=True,
    )
)


def measure(family: str, results_dir: Path) -> list[dict[str, object]]:
    """Returns one row per budget and task for a family."""
    loaded = load_model(ModelConfig(path=f"deprune:{family}", name=family), "cpu", "float32")
    calib = CalibConfig(name="mixture", corpus=EmbeddedCorpus(corpus="mixture"), n_samples=64, seq_len=128, seed=0)
    calibration = draw_windows(calib, 128, loaded.tokenizer, family)
    evaluator = SubsetEvaluator(
        loaded.stacks, calibration, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(results_dir)
    )
    n_blocks = loaded.stack.n_blocks
    problem = Problem(SearchSpace(n_blocks, MAX_BUDGET), evaluator)
    order = Greedy().run(problem, np.random.default_rng(0)).order
    scorers, memory = {"choices": MultipleChoice(tasks=tuple(WRITERS))}, Memory()
    rows: list[dict[str, object]] = []
    for budget in range(MAX_BUDGET + 1):
        subset = BlockSubset.of(n_blocks, order[:budget])
        loss = evaluator.evaluate([subset])[0].loss
        (scores,) = score_models([PrunedModel(loaded, subset)], scorers, results_dir, memory)
        for score in scores["choices"]:
            if score.response == ACCURACY:
                rows.append(
                    {"model": family, "budget": budget, "removed": " ".join(map(str, order[:budget])),
                     "task": score.task, "accuracy": round(score.value, 4), "calib_nll": round(loss, 4)}
                )  # fmt: skip
        print(family, budget, round(float(np.mean([r["accuracy"] for r in rows[-len(WRITERS) :]])), 3), flush=True)
    return rows


def draw(rows: list[dict[str, object]]) -> None:
    """Draws accuracy against the number of removed blocks, one panel per family."""
    plt.rcParams |= {"svg.hashsalt": "deprune", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    figure, axes = plt.subplots(1, len(FAMILIES), figsize=(9, 3.1), sharey=True, layout="constrained")
    chance = np.mean([1 / len(load(task)["test"][0]["choices"]) for task in WRITERS])
    for axis, family in zip(axes, FAMILIES, strict=True):
        for task, (colour, marker) in STYLES.items():
            of_task = [r for r in rows if r["model"] == family and r["task"] == task]
            accuracy = [100 * float(str(r["accuracy"])) for r in of_task]
            axis.plot(
                range(len(of_task)), accuracy, color=colour, marker=marker, ms=4, lw=1, label=task.removeprefix("mini_")
            )
        means = [
            np.mean([100 * float(str(r["accuracy"])) for r in rows if r["model"] == family and r["budget"] == b])
            for b in range(MAX_BUDGET + 1)
        ]
        axis.plot(means, color="black", lw=2.2, label="mean")
        axis.axhline(100 * chance, color="grey", lw=0.8, ls=":", label="chance (mean)")
        axis.set(title=family, xlabel="blocks removed")
    axes[0].set_ylabel("accuracy [%]")
    axes[0].set_ylim(0, 102)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(HERE / "accuracy.svg", metadata={"Date": None})


def main() -> None:
    """Measures all families."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for family in FAMILIES for row in measure(family, Path(folder))]
    with (HERE / "accuracy.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
