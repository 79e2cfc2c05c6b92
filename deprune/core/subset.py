"""Sets of removed blocks, and the space of those that a search may choose from."""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Self

import numpy as np

from deprune.core.errors import ConfigError


@dataclass(frozen=True, slots=True, order=True)
class BlockSubset:
    """A set of removed blocks.

    Attributes:
        n_blocks: Number of blocks of the dense model.
        removed: Indices of the removed blocks, 0-based, sorted, distinct.
    """

    n_blocks: int
    removed: tuple[int, ...] = ()

    @classmethod
    def of(cls, n_blocks: int, removed: Iterable[int]) -> Self:
        """Returns the subset that removes `removed`.

        Raises:
            ConfigError: An index is repeated, no whole number, or not in `0..n_blocks - 1`.
        """
        given = list(removed)
        if any(isinstance(b, bool) or not isinstance(b, Integral) for b in given):
            raise ConfigError(f"The blocks to remove, {given}, must be whole numbers in 0..{n_blocks - 1}.")
        blocks = tuple(sorted(given))
        if len(set(blocks)) != len(blocks) or any(not 0 <= b < n_blocks for b in blocks):
            raise ConfigError(f"The blocks to remove, {given}, must be distinct and lie in 0..{n_blocks - 1}.")
        return cls(n_blocks, blocks)

    @property
    def kept(self) -> tuple[int, ...]:
        """The blocks that stay, in order."""
        return tuple(b for b in range(self.n_blocks) if b not in self.removed)

    def remove(self, block: int) -> Self:
        """Returns the subset that removes `block` as well."""
        return self.of(self.n_blocks, (*self.removed, block))

    def swap(self, restore: Iterable[int], remove: Iterable[int]) -> Self:
        """Returns the subset that keeps the blocks `restore` after all and removes `remove` in their place."""
        return self.of(self.n_blocks, {*self.removed}.difference(restore).union(remove))

    def bits(self) -> str:
        """Returns the subset as text, one digit per block, `1` where the block is removed."""
        digits = ["0"] * self.n_blocks
        for block in self.removed:
            digits[block] = "1"
        return "".join(digits)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All subsets of a given size that leave the protected blocks alone.

    Attributes:
        n_blocks: Number of blocks of the dense model.
        budget: Number of blocks to remove.
        protected: Blocks that must stay.
    """

    n_blocks: int
    budget: int
    protected: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= len(self.removable):
            raise ConfigError(
                f"The budget of {self.budget} blocks is more than the {len(self.removable)} blocks "
                f"that may be removed ({len(self.protected)} of {self.n_blocks} are protected); "
                "lower the budget or protect fewer blocks."
            )

    @property
    def removable(self) -> tuple[int, ...]:
        """The blocks that may be removed, in order."""
        return tuple(b for b in range(self.n_blocks) if b not in self.protected)

    @property
    def size(self) -> int:
        """Number of subsets in the space."""
        return math.comb(len(self.removable), self.budget)

    def __contains__(self, subset: BlockSubset) -> bool:
        return (
            subset.n_blocks == self.n_blocks
            and len(subset.removed) == self.budget
            and not self.protected.intersection(subset.removed)
        )

    def subsets(self) -> Iterator[BlockSubset]:
        """Yields every subset, in lexicographic order of the removed blocks."""
        for removed in itertools.combinations(self.removable, self.budget):
            yield BlockSubset(self.n_blocks, removed)

    def sample(self, rng: np.random.Generator) -> BlockSubset:
        """Returns a uniformly random subset."""
        drawn = rng.choice(self.removable, size=self.budget, replace=False)
        return BlockSubset.of(self.n_blocks, (int(b) for b in drawn))

    def lowest(self, scores: Sequence[float]) -> tuple[int, ...]:
        """Returns the blocks that go when those of the smallest scores, `(N,)`, do, in this order; ties to lower."""
        return tuple(sorted(self.removable, key=lambda b: (scores[b], b))[: self.budget])

    def remaining(self, subset: BlockSubset) -> list[int]:
        """Returns the blocks that could be removed and are not."""
        return [b for b in self.removable if b not in subset.removed]

    def neighbours(self, subset: BlockSubset) -> list[BlockSubset]:
        """Returns every subset that is one swap away."""
        remaining = self.remaining(subset)
        return [subset.swap([restored], [removed]) for restored in subset.removed for removed in remaining]

    def swap_randomly(self, subset: BlockSubset, n_swaps: int, rng: np.random.Generator) -> BlockSubset:
        """Returns the subset after `n_swaps` simultaneous swaps, or as many as there can be."""
        remaining = self.remaining(subset)
        size = min(n_swaps, self.budget, len(remaining))
        restored, removed = (rng.permutation(blocks)[:size].tolist() for blocks in (subset.removed, remaining))
        return subset.swap(restored, removed)


def draw_distinct(
    draw: Callable[[], BlockSubset], n_subsets: int, unwanted: Collection[BlockSubset] = ()
) -> list[BlockSubset]:
    """Draws distinct subsets, none of them unwanted, until there are `n_subsets` or 20 draws for each were made."""
    drawn: dict[BlockSubset, None] = {}
    for _ in range(20 * n_subsets):
        if len(drawn) == n_subsets:
            break
        if (subset := draw()) not in unwanted:
            drawn[subset] = None
    return list(drawn)
