"""The protocol of a search, and the problem that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.errors import ConfigError
from deprune.subset import BlockSubset, SearchSpace


@dataclass(frozen=True)
class TracePoint:
    """One improvement during a search.

    Attributes:
        evaluations: Distinct subsets evaluated so far.
        n_removed: Number of blocks that the subset removes.
        loss: Its loss, the best so far among subsets of this size.
        removed: The blocks that it removes.
    """

    evaluations: int
    n_removed: int
    loss: float
    removed: tuple[int, ...]


class Problem:
    """Everything that a search may know: the space, and losses for the asking.

    Args:
        space: The subsets to choose from.
        evaluate: Gives the losses of subsets; ask for as many as possible at once.
    """

    def __init__(self, space: SearchSpace, evaluate: Callable[[Sequence[BlockSubset]], list[float]]) -> None:
        self.space = space
        self._evaluate = evaluate
        self._seen: set[BlockSubset] = set()
        self._best: dict[int, float] = {}
        self.trace: list[TracePoint] = []

    def losses(self, subsets: Sequence[BlockSubset]) -> list[float]:
        """Returns the losses of subsets of any size, in the same order."""
        losses = self._evaluate(subsets)
        self._seen.update(subsets)
        loss, subset = min(zip(losses, subsets, strict=True))
        size = len(subset.removed)
        if loss < self._best.get(size, np.inf):
            self._best[size] = loss
            self.trace.append(TracePoint(len(self._seen), size, loss, subset.removed))
        return losses

    def argmin(self, subsets: Sequence[BlockSubset]) -> BlockSubset:
        """Returns the subset of smallest loss; of equal ones the first in order of its blocks."""
        return min(zip(self.losses(subsets), subsets, strict=True))[1]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        subset: The removed blocks.
        order: The same blocks, in the order in which they went where the search has one.
    """

    subset: BlockSubset
    order: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """A search algorithm; its fields are its settings.

    Attributes:
        uses_seed: Whether the seed of the search can change the result.
        protect_first: Number of blocks at the bottom that must stay.
        protect_last: Number of blocks at the top that must stay.
    """

    uses_seed: ClassVar[bool] = False

    protect_first: int = 0
    protect_last: int = 0

    def __post_init__(self) -> None:
        if self.protect_first < 0 or self.protect_last < 0:
            raise ConfigError(
                f"search.protect_first={self.protect_first} and search.protect_last="
                f"{self.protect_last} are numbers of blocks and must not be negative."
            )

    @abstractmethod
    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Returns the best subset that the algorithm finds."""
