"""The protocol of a search, and the problem that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from deprune.core.build import name_of
from deprune.core.errors import ConfigError
from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.statistic import Statistic


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


class LossSource(Protocol):
    """One model on one calibration set, as far as a search may look.

    Attributes:
        n_samples: Number of calibration samples.
    """

    n_samples: int

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns the losses of subsets on the first samples, by default on all of them."""
        ...

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns the subsets that may still be the best: all, unless racing drops some."""
        ...

    def statistic(self, statistic: Statistic) -> NDArray[np.float64]:
        """Returns a statistic of the dense model's hidden states."""
        ...


class Problem:
    """Everything that a search may know: the space, losses for the asking, and statistics of the dense model.

    Args:
        space: The subsets to choose from.
        source: Gives losses and statistics.
        bar: Shows the number of subsets evaluated and the best loss.
    """

    def __init__(self, space: SearchSpace, source: LossSource, bar: tqdm[NoReturn] | None = None) -> None:
        self.space = space
        self._source = source
        self._bar = bar
        self._seen: set[BlockSubset] = set()
        self._known: dict[tuple[BlockSubset, int | None], float] = {}
        self._best: dict[int, float] = {}
        self.trace: list[TracePoint] = []

    @property
    def n_samples(self) -> int:
        """Number of calibration samples."""
        return self._source.n_samples

    def statistic(self, statistic: Statistic) -> NDArray[np.float64]:
        """Returns a statistic of the dense model's hidden states on the calibration set."""
        return self._source.statistic(statistic)

    def losses(self, subsets: Sequence[BlockSubset]) -> list[float]:
        """Returns the losses of subsets of any size on the whole calibration set, in the same order.

        Ask for as many as possible at once, since they share their work. What was asked for
        before is remembered and costs nothing.
        """
        new = self._ask(subsets)
        self._see(new)
        for size in sorted({len(s.removed) for s in new}):
            self._improve(*min((self._known[s, None], s) for s in new if len(s.removed) == size))
        return [self._known[s, None] for s in subsets]

    def early_losses(self, subsets: Sequence[BlockSubset], n_samples: int) -> list[float]:
        """Returns the losses of subsets on the first samples alone."""
        self._ask(subsets, n_samples)
        return [self._known[s, n_samples] for s in subsets]

    def argmin(self, subsets: Sequence[BlockSubset]) -> BlockSubset:
        """Returns the subset of smallest loss; of equal ones the first in order of its blocks.

        One that racing has left alone is not evaluated on the samples that it need not see.
        """
        contenders = self._source.contenders(subsets)
        self._see(subsets)
        if len(contenders) == 1:
            return contenders[0]
        return min(zip(self.losses(contenders), contenders, strict=True))[1]

    def rank(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns subsets by loss, the best first; equal ones in order of their blocks."""
        return [subset for _, subset in sorted(zip(self.losses(subsets), subsets, strict=True))]

    def best(self) -> BlockSubset:
        """Returns the best subset of the space whose loss was asked for; ties as in `argmin`."""
        return min((loss, s) for (s, n_samples), loss in self._known.items() if n_samples is None and s in self.space)[
            1
        ]

    def _ask(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[BlockSubset]:
        """Asks for the losses that are not known yet; returns the subsets that these belong to."""
        new = [s for s in dict.fromkeys(subsets) if (s, n_samples) not in self._known]
        losses = self._source.losses(new, n_samples) if new else []
        self._known.update({(s, n_samples): loss for s, loss in zip(new, losses, strict=True)})
        return new

    def _see(self, subsets: Sequence[BlockSubset]) -> None:
        before = len(self._seen)
        self._seen.update(subsets)
        if self._bar is not None:
            self._bar.update(len(self._seen) - before)

    def _improve(self, loss: float, subset: BlockSubset) -> None:
        size = len(subset.removed)
        if loss < self._best.get(size, np.inf):
            self._best[size] = loss
            self.trace.append(TracePoint(len(self._seen), size, loss, subset.removed))
            if self._bar is not None:
                self._bar.set_postfix_str(f"best loss {loss:.4f} with {size} removed")


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        subset: The removed blocks.
        order: The same blocks, in the order in which they went where the search has one.
    """

    subset: BlockSubset
    order: tuple[int, ...]

    @classmethod
    def of(cls, subset: BlockSubset) -> SearchResult:
        """Returns the result of a search whose blocks go all at once."""
        return cls(subset, subset.removed)


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """A search algorithm; its fields are its settings.

    Attributes:
        kind: What it is to others.
        version: Raised when the algorithm changes, so that old results are not taken for new.
        guarantees: The laws that it keeps, whatever its settings are.
        order: Its place in tables, from the lowest number on.
        uses_seed: Whether the seed of the search can change the result.
        protect_first: Number of blocks at the bottom that must stay.
        protect_last: Number of blocks at the top that must stay.
    """

    kind: ClassVar[Kind]
    version: ClassVar[int] = 1
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset()
    order: ClassVar[int] = 100
    uses_seed: ClassVar[bool] = False

    protect_first: int = 0
    protect_last: int = 0

    def __post_init__(self) -> None:
        if not hasattr(self, "kind"):
            raise ConfigError(
                f"The search {name_of(self)} does not say of which kind it is; write 'kind: ClassVar[Kind] = "
                f"Kind.COMPLEX' into its class {type(self).__name__}, or another of deprune.core.kinds.Kind."
            )
        if self.protect_first < 0 or self.protect_last < 0:
            raise ConfigError(
                f"search.protect_first={self.protect_first} and search.protect_last="
                f"{self.protect_last} are numbers of blocks and must not be negative."
            )

    def require_at_least(self, smallest: float, *settings: str) -> None:
        """Refuses settings that are too small.

        Raises:
            ConfigError: One of the settings is below `smallest`.
        """
        for setting in settings:
            if (value := getattr(self, setting)) < smallest:
                raise ConfigError(f"The value of 'search.{setting}' is {value}, but must be at least {smallest}.")

    def require_positive(self, *settings: str) -> None:
        """Refuses settings that are not above 0.

        Raises:
            ConfigError: One of the settings is 0 or less.
        """
        for setting in settings:
            if not (value := getattr(self, setting)) > 0:
                raise ConfigError(f"The value of 'search.{setting}' is {value}, but must be above 0.")

    def promised(self) -> frozenset[Guarantee]:
        """Returns the laws that it keeps; to be overridden where some depend on its settings."""
        return self.guarantees

    def facts(self) -> dict[str, Any]:
        """Returns what a record says of the search."""
        promised = self.promised()
        return {
            "kind": self.kind.value,
            "version": self.version,
            "guarantees": tuple(law.value for law in Guarantee if law in promised),
            "order": self.order,
        }

    @abstractmethod
    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Returns the best subset that the algorithm finds."""

    def rehearse(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Asks for as many losses as `run`, in batches alike, for a forecast of its cost.

        To be overridden where choosing what to ask for takes long, and only then.
        """
        return self.run(problem, rng)
