"""What an evaluation is, and what evaluating cost."""

import math
from dataclasses import dataclass

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """How the evaluator runs.

    Attributes:
        batch_size: Number of samples that go through a block at once; by default as many as the
            free memory takes, at most 16.
        sharing: Run a block once for all subsets that agree below it. Turned off only to
            measure what it saves; the losses are the same to the bit.
        racing: Where a search needs only the best of some subsets, drop those that are worse with
            confidence on the first samples; see `deprune.evaluator.racing`.
        racing_error: Highest probability of dropping the best of a batch of subsets.
    """

    batch_size: int | None = None
    sharing: bool = True
    racing: bool = False
    racing_error: float = 0.05

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"The value of 'evaluator.batch_size' is {self.batch_size}, but must be at least 1.")
        if not 0 < self.racing_error < 1:
            wanted = "a probability between 0 and 1 is wanted, such as 0.05"
            raise ConfigError(f"The value of 'evaluator.racing_error' is {self.racing_error}, but {wanted}.")


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
