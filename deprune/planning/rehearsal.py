"""Searches on invented losses: what they ask for, what is computed, and what is remembered.

Every search is run on a random quadratic loss of the removed blocks: the evaluations are those that it
would ask for on a model whose blocks interact as these do. Shapes: N blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deprune.core.build import name_of
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.evaluator.trie import count_prefixes
from deprune.search.base import Problem, Search
from deprune.search.statistic import Statistic
from deprune.testing import ToyStates

INTERACTION = 0.2
"""Size of the interaction of two blocks, as a part of that of one block's own loss."""

DRAWS_DIFFER = 0.3
"""Size of what a calibration set adds to a block's own loss, likewise."""


@dataclass
class Work:
    """What evaluating takes; passes are of all samples of a batch through one block, or through the head.

    Attributes:
        calls: Times that the evaluator is asked, upon which it looks what others have stored.
        requested: Losses asked for.
        computed: Losses of which at least one sample is computed.
        sample_evaluations: Losses of single samples.
        block_calls: Times that a block is run on one sample.
        block_calls_alone: The same if every subset were run on its own.
        block_passes: Times that a block is run on a batch.
        head_passes: Times that the head is.
    """

    calls: int = 0
    requested: int = 0
    computed: int = 0
    sample_evaluations: int = 0
    block_calls: int = 0
    block_calls_alone: int = 0
    block_passes: int = 0
    head_passes: int = 0

    def add(self, other: Work) -> None:
        """Adds the work of another job."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Remembered:
    """What the evaluation store holds of one calibration draw: samples are nested, so a number says which.

    Attributes:
        n_samples: For each subset, how many samples are known, from the first.
        statistics: Statistics of the dense model that are known, by name and number of samples.
    """

    n_samples: dict[BlockSubset, int] = field(default_factory=dict)
    statistics: set[tuple[str, int]] = field(default_factory=set)


class InventedLosses:
    """The `LossSource` of a rehearsal; it counts as `SubsetEvaluator` does.

    Args:
        n_blocks: N.
        n_samples: Number of calibration samples.
        batch_size: Number of samples that go through a block at once.
        sharing: Whether common prefixes are run once.
        names: Names of the model and the objective, and of the calibration set.
        remembered: What other jobs on the same draw have left.
    """

    def __init__(
        self,
        n_blocks: int,
        n_samples: int,
        batch_size: int,
        sharing: bool,
        names: tuple[str, str],
        remembered: Remembered,
    ) -> None:
        self.n_samples = n_samples
        self.work = Work()
        self._n_blocks, self._batch_size, self._sharing = n_blocks, batch_size, sharing
        self._remembered = remembered
        common, own = generator(0, "plan", names[0]), generator(0, "plan", *names, str(n_samples))
        self._block_losses = common.exponential(size=n_blocks) + DRAWS_DIFFER * own.normal(size=n_blocks)
        self._pair_losses = INTERACTION * common.normal(size=(n_blocks, n_blocks)) / 2
        self._rng = own

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns invented losses, and counts what real ones would take."""
        n = n_samples or self.n_samples
        missing = [s for s in dict.fromkeys(subsets) if self._remembered.n_samples.get(s, 0) < n]
        self.work.calls += 1
        self.work.requested += len(subsets)
        self.work.computed += len(missing)
        by_known: defaultdict[int, list[BlockSubset]] = defaultdict(list)
        for subset in missing:
            by_known[self._remembered.n_samples.get(subset, 0)].append(subset)
            self._remembered.n_samples[subset] = n
        self._count(by_known, n)
        removed = np.zeros((len(subsets), self._n_blocks))
        for row, subset in zip(removed, subsets, strict=True):
            row[list(subset.removed)] = 1
        own: NDArray[np.float64] = removed @ self._block_losses
        together = np.einsum("si,ij,sj->s", removed, self._pair_losses, removed)
        return [float(loss) for loss in own + together]

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns all subsets: how many racing would drop cannot be foreseen."""
        return list(subsets)

    def statistic(self, statistic: Statistic) -> NDArray[np.float64]:
        """Returns the statistic of invented hidden states."""
        if (statistic.key(), self.n_samples) not in self._remembered.statistics:
            self._remembered.statistics.add((statistic.key(), self.n_samples))
            self.count_dense()
        return statistic.measure([ToyStates(self._n_blocks, seed=1)])

    def count_dense(self) -> None:
        """Counts one pass of all samples through the blocks of the dense model."""
        self.work.block_calls += self.n_samples * self._n_blocks
        self.work.block_calls_alone += self.n_samples * self._n_blocks
        self.work.block_passes += -(-self.n_samples // self._batch_size) * self._n_blocks

    def _count(self, by_known: dict[int, list[BlockSubset]], n: int) -> None:
        """Counts batch by batch; subsets of which as many samples are known go through the same batches."""
        counted: dict[tuple[int, ...], tuple[int, int]] = {}
        for first in range(0, n, self._batch_size):
            last = min(first + self._batch_size, n)
            concerned = tuple(known for known in by_known if known < last)
            if concerned not in counted:
                group = [s for known in concerned for s in by_known[known]]
                alone = sum(len(s.kept) for s in group)
                counted[concerned] = (count_prefixes(group) if self._sharing else alone, alone)
            shared, alone = counted[concerned]
            n_run = min(self._batch_size, self.n_samples - first)
            self.work.block_calls += shared * n_run
            self.work.block_calls_alone += alone * n_run
            self.work.block_passes += shared
            self.work.head_passes += sum(len(by_known[known]) for known in concerned)
            self.work.sample_evaluations += sum(
                len(by_known[known]) * (last - max(first, known)) for known in concerned
            )


def rehearse(
    search: Search,
    space: SearchSpace,
    seed: int,
    source: InventedLosses,
    *,
    needs_dense: bool,
    in_earnest: bool = False,
) -> BlockSubset:
    """Does what a job does with its search and evaluator; returns the subset, the work is in the source.

    Args:
        search: The search.
        space: Its space.
        seed: Its seed.
        source: Gives the losses.
        needs_dense: Whether the objective needs the dense model's hidden states.
        in_earnest: Let the search choose as it does in a job, however long that takes.

    Raises:
        ConfigError: The search refuses the space.
    """
    dense = BlockSubset(space.n_blocks)
    problem, found = Problem(space, source), dense
    if space.budget:
        run = search.run if in_earnest else search.rehearse
        found = run(problem, generator(seed, "search", name_of(search))).subset
    problem.losses([found])
    source.losses([found, dense])
    if needs_dense and source.work.computed:
        source.count_dense()
    return found
