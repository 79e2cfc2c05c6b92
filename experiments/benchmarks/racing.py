"""Greedy with racing against exact greedy, on the embedded models.

    python experiments/benchmarks/racing.py

For each family and calibration seed, the exact search runs first; racing then runs on what it left in the
store, and is charged for every loss of a sample that it asks for. Writes racing.csv beside this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.evaluator.base import Evaluation, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel, load_model
from deprune.model.source import ModelConfig
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem
from deprune.search.greedy import Greedy

FAMILIES = ("tiny_llama", "tiny_qwen3", "tiny_neox")
N_SEEDS, N_SAMPLES, SEQ_LEN, BUDGET, BATCH = 20, 512, 64, 3, 16


class ChargedEvaluator(SubsetEvaluator):
    """Notes every loss of a sample that it is asked for, remembered or not."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.asked: set[tuple[BlockSubset, int]] = set()

    def evaluate(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[Evaluation]:
        """Evaluates and notes."""
        self.asked.update(itertools.product(subsets, range(n_samples or self.n_samples)))
        return super().evaluate(subsets, n_samples)


def compare(loaded: LoadedModel, family: str, seed: int) -> dict[str, object]:
    """Returns the two subsets and what they cost."""
    corpus = EmbeddedCorpus(corpus="mixture")
    calib = CalibConfig(name="mixture", corpus=corpus, n_samples=N_SAMPLES, seq_len=SEQ_LEN, seed=seed)
    calibration = draw_windows(calib, SEQ_LEN, loaded.tokenizer, family)
    store, row = EvaluationStore(None), {"model": family, "calib_seed": seed}
    for name, racing in (("exact", False), ("racing", True)):
        config = EvaluatorConfig(batch_size=BATCH, racing=racing)
        evaluator = ChargedEvaluator(loaded.stacks, calibration, NegativeLogLikelihood(), config, store)
        problem = Problem(SearchSpace(loaded.stack.n_blocks, BUDGET), evaluator)
        row[name] = Greedy().run(problem, np.random.default_rng()).subset.bits()
        row[f"{name}_sample_evaluations"] = len(evaluator.asked)
    return row


def main() -> None:
    """Runs all pairs and writes the table."""
    rows = []
    for seed in range(N_SEEDS):
        family = FAMILIES[seed % len(FAMILIES)]
        rows.append(
            compare(load_model(ModelConfig(path=f"deprune:{family}", name=family), "cpu", "float32"), family, seed)
        )
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(Path(__file__).with_name("racing.csv"), index=False)
    ratio = table.racing_sample_evaluations.sum() / table.exact_sample_evaluations.sum()
    print(
        f"same subset: {(table.exact == table.racing).sum()} of {len(table)}; sample evaluations: {ratio:.3f} of exact"
    )


if __name__ == "__main__":
    main()
