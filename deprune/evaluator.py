"""Losses of subsets of blocks on one calibration set.

A search asks for the losses of a batch of subsets and never sees the model; this module
never sees the search. Every loss is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from deprune.calib.base import CalibrationSet
from deprune.model.blocks import BlockStack
from deprune.objective.base import Objective, Score
from deprune.subset import BlockSubset


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """How the evaluator runs.

    Attributes:
        batch_tokens: Number of tokens that go through a block at once.
    """

    batch_tokens: int = 8192


@dataclass(frozen=True)
class Evaluation:
    """The loss of one subset, by calibration sample.

    Attributes:
        sums: Sum of the loss terms of each sample.
        counts: Number of terms of each sample.
    """

    subset: BlockSubset
    sums: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The loss on the whole calibration set; infinite where it is not a number."""
        loss = sum(self.sums) / sum(self.counts)
        return loss if math.isfinite(loss) else math.inf

    @property
    def stderr(self) -> float | None:
        """Standard error of the loss over samples, as of a ratio; None for one sample."""
        n = len(self.sums)
        if n < 2:
            return None
        loss, mean_count = self.loss, sum(self.counts) / n
        squares = sum((s - loss * c) ** 2 for s, c in zip(self.sums, self.counts, strict=True))
        return math.sqrt(squares / (n - 1) / n) / mean_count


@dataclass
class EvaluationCounter:
    """What the evaluator was asked and did.

    Attributes:
        requested: Losses asked for.
        computed: Losses that had to be computed, the rest being remembered.
        block_calls: Times that a block was run on one calibration sample.
    """

    requested: int = 0
    computed: int = 0
    block_calls: int = 0


class SubsetEvaluator:
    """Evaluates subsets by running the kept blocks in order, one subset at a time."""

    def __init__(
        self, stack: BlockStack, calibration: CalibrationSet, objective: Objective, config: EvaluatorConfig
    ) -> None:
        self._stack = stack
        self._objective = objective
        n_rows = max(1, config.batch_tokens // calibration.ids_BT.shape[1])
        self._batches = calibration.ids_BT.to(stack.model.device).split(n_rows)
        self._known: dict[BlockSubset, Evaluation] = {}
        self.counter = EvaluationCounter()

    def evaluate(self, subsets: Sequence[BlockSubset]) -> list[Evaluation]:
        """Returns the evaluations of subsets, in the same order; repeated ones cost nothing."""
        new = [s for s in dict.fromkeys(subsets) if s not in self._known]
        self.counter.requested += len(subsets)
        self.counter.computed += len(new)
        for evaluation in self._compute(new):
            self._known[evaluation.subset] = evaluation
        return [self._known[s] for s in subsets]

    def _compute(self, subsets: list[BlockSubset]) -> list[Evaluation]:
        scores: dict[BlockSubset, list[Score]] = {s: [] for s in subsets}
        steps = len(self._batches) * sum(len(s.kept) for s in subsets)
        with tqdm(total=steps, desc="evaluating subsets", unit="block", leave=False, delay=1) as bar:
            for ids_BT in self._batches:
                inputs = self._stack.embed(ids_BT)
                for subset in subsets:
                    hidden = inputs.hidden_BTD
                    for block in subset.kept:
                        hidden = self._stack.run_block(block, hidden, inputs)
                    scores[subset].append(self._objective.score(self._stack, hidden, ids_BT))
                    self.counter.block_calls += len(subset.kept) * len(ids_BT)
                    bar.update(len(subset.kept))
        return [_joined(subset, parts) for subset, parts in scores.items()]


def _joined(subset: BlockSubset, parts: list[Score]) -> Evaluation:
    sums = torch.cat([p.sums_B for p in parts])
    counts = torch.cat([p.counts_B for p in parts])
    return Evaluation(subset, tuple(sums.tolist()), tuple(counts.tolist()))
