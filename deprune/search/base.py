"""The protocol of a search, the problem that it is given, and what it may ask of the dense model's hidden states.

Shapes: R rows of T tokens, D width, B samples, S tokens of all samples, N blocks. h_i is the state that enters
block i, h_N leaves the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from deprune.core.build import name_of
from deprune.core.errors import ConfigError
from deprune.core.fingerprint import digest_of
from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BlockSubset", "Generator", "Guarantee", "Kind", "SearchSpace"]  # searches take these from here, too

Floats = NDArray[np.float64]
Batches = Sequence["HiddenStates"]

EXACT_FOR_ONE_BLOCK = frozenset({Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.TIES_TO_LOWER_BLOCKS})
"""The laws of a search that looks at every block alone where only one is to go."""

NEVER_WORSE_THAN_ONESHOT = EXACT_FOR_ONE_BLOCK | {Guarantee.NEVER_WORSE_THAN_ONESHOT}
"""The laws of a search that also looks at the one-shot subset."""


class HiddenStates(Protocol):
    """The hidden states of the dense model on a batch of calibration samples."""

    def real_tokens(self) -> Tensor:
        """Returns which tokens are no filling, bool `(R, T)`."""

    def last_tokens(self) -> Tensor:
        """Returns the index of the last token of each sample's text among all tokens, int64 `(B,)`."""

    def __iter__(self) -> Iterator[Tensor]:
        """Runs the model; yields h_0 … h_N, `(R, T, D)`, of which only one is in memory."""


@dataclass(frozen=True, kw_only=True)
class Statistic(ABC):
    """A statistic of hidden states; its fields are its settings.

    Attributes:
        name: The name under which its values are remembered; no other statistic may have it.
        version: Raised when the formula changes, so that old values are not taken for new.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def measure(self, batches: Batches) -> Floats:
        """Returns the statistic of all batches together."""

    def key(self) -> str:
        """Returns the name, with a digest of version and settings where one of them says something."""
        settings = asdict(self)
        return self.name if self.version == 1 and not settings else f"{self.name}-{digest_of([self.version, settings])}"


def states_at(batches: Batches, tokens: Sequence[Tensor]) -> Tensor:
    """Returns h_0 … h_N at some tokens of each batch, indices among all of its own; float64 `(N + 1, S, D)`."""
    import torch

    def chosen(batch: HiddenStates, wanted: Tensor) -> Tensor:
        return torch.stack([h.flatten(0, 1)[wanted.to(h.device)].double().cpu() for h in batch])

    return torch.cat([*map(chosen, batches, tokens)], dim=1)


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
    """One model on one calibration set, of `n_samples` samples, as far as a search may look."""

    n_samples: int

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns the losses of subsets on the first samples, by default on all of them."""

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns the subsets that may still be the best: all, unless racing drops some."""

    def statistic(self, statistic: Statistic) -> Floats:
        """Returns a statistic of the dense model's hidden states."""


class Problem:
    """Everything that a search may know: the space, losses for the asking, and statistics of the dense model.

    Args:
        space: The subsets to choose from.
        source: Gives losses and statistics.
        bar: Shows the number of subsets evaluated and the best loss.

    Attributes:
        n_samples: Number of calibration samples.
    """

    def __init__(self, space: SearchSpace, source: LossSource, bar: tqdm[NoReturn] | None = None) -> None:
        self.space, self.n_samples = space, source.n_samples
        self._source, self._bar = source, bar
        self._seen: set[BlockSubset] = set()
        self._known: dict[tuple[BlockSubset, int | None], float] = {}
        self._best: dict[int, float] = {}
        self.trace: list[TracePoint] = []

    def statistic(self, statistic: Statistic) -> Floats:
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
            self._improve(size, *min((self._known[s, None], s) for s in new if len(s.removed) == size))
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

    def best_beside(self, subset: BlockSubset, others: Sequence[BlockSubset]) -> BlockSubset:
        """Returns a subset, or the best of others where that is better on all samples, which racing may mistake."""
        return self.rank([subset, self.argmin([subset, *others])])[0]

    def best(self) -> BlockSubset:
        """Returns the best subset of the space whose loss was asked for; ties as in `argmin`."""
        known = self._known.items()
        return min((loss, s) for (s, n_samples), loss in known if n_samples is None and s in self.space)[1]

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

    def _improve(self, size: int, loss: float, subset: BlockSubset) -> None:
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
        at_least_one: Settings that must be at least 1, where they are not None.
        above_zero: Settings that must be above 0.
        protect_first: Number of blocks at the bottom that must stay.
        protect_last: Number of blocks at the top that must stay.
    """

    kind: ClassVar[Kind]
    version: ClassVar[int] = 1
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset()
    order: ClassVar[int] = 100
    uses_seed: ClassVar[bool] = False
    at_least_one: ClassVar[tuple[str, ...]] = ()
    above_zero: ClassVar[tuple[str, ...]] = ()

    protect_first: int = 0
    protect_last: int = 0

    def __post_init__(self) -> None:
        if not hasattr(self, "kind"):
            raise ConfigError(
                f"The search {name_of(self)} does not say of which kind it is; write 'kind: ClassVar[Kind] = "
                f"Kind.COMPLEX' into its class {type(self).__name__}, or another of deprune.core.kinds.Kind."
            )
        if self.protect_first < 0 or self.protect_last < 0:
            numbers = f"search.protect_first={self.protect_first} and search.protect_last={self.protect_last}"
            raise ConfigError(f"{numbers} are numbers of blocks and must not be negative.")
        for setting in self.at_least_one:
            if (value := getattr(self, setting)) is not None and value < 1:
                raise ConfigError(f"The value of 'search.{setting}' is {value}, but must be at least 1.")
        for setting in self.above_zero:
            if not (value := getattr(self, setting)) > 0:
                raise ConfigError(f"The value of 'search.{setting}' is {value}, but must be above 0.")

    def promised(self) -> frozenset[Guarantee]:
        """Returns the laws that it keeps; to be overridden where some depend on its settings."""
        return self.guarantees

    def facts(self) -> dict[str, Any]:
        """Returns what a record says of the search."""
        laws = tuple(law.value for law in Guarantee if law in self.promised())
        return {"kind": self.kind.value, "version": self.version, "guarantees": laws, "order": self.order}

    @abstractmethod
    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Returns the best subset that the algorithm finds."""

    def rehearse(self, problem: Problem, rng: Generator) -> SearchResult:
        """Asks for as many losses as `run`, in batches alike, for a forecast; overridden where `run` thinks long."""
        return self.run(problem, rng)
