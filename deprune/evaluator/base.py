"""What an evaluation is, and what evaluating cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deprune.subset import BlockSubset


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """How the evaluator runs.

    Attributes:
        batch_size: Number of samples that go through a block at once.
        sharing: Run a block once for all subsets that agree below it. Turned off only to
            measure what it saves; the losses are the same to the bit.
    """

    batch_size: int = 16
    sharing: bool = True


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
        requested: Losses asked for; they fall into the next two.
        remembered: Losses of which no sample had to be computed.
        computed: Losses of which at least one sample had to be computed.
        sample_evaluations: Losses of single samples that were computed.
        block_calls: Times that a block was run on one calibration sample.
    """

    requested: int = 0
    remembered: int = 0
    computed: int = 0
    sample_evaluations: int = 0
    block_calls: int = 0
