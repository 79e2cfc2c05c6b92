"""Fast-Block-Select: swaps of short runs of blocks, ranked by mutual information."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class FastBlockSelect(Search):
    """Starts from the k least important blocks and swaps runs of blocks as long as the loss falls.

    The importance of a block is −I(h_in; h_out), that of a run the sum over its blocks. A round
    evaluates the few swaps that add least importance to what is removed, and makes the best.

    Source: an interpretation of MI-PRUN (arXiv:2601.07212), known to us second-hand.
    Deviations: unstated there, we chose the sum as importance of a run, swaps of runs of equal
    length, and that swaps which were evaluated before leave their place to others. The true loss
    decides over a swap, as in the study (arXiv:2604.24938).
    Cost: one forward pass of the dense model and 1 + max_rounds · swaps evaluations at most.

    Attributes:
        swaps: Number of swaps evaluated in a round.
        max_run: Number of blocks in the longest runs.
        max_rounds: Number of rounds at most.
    """

    swaps: int = 8
    max_run: int = 3
    max_rounds: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "swaps", "max_run", "max_rounds")

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Swaps until no swap of a round helps."""
        importance = -problem.source.mutual_information()
        subset = BlockSubset.of(problem.space.n_blocks, problem.space.lowest(importance.tolist()))
        tried = {subset}
        for _ in range(self.max_rounds):
            swapped = [s for s in self._by_importance(problem.space, subset, importance) if s not in tried]
            found = problem.argmin([subset, *swapped[: self.swaps]])
            better = problem.rank([subset, found])[0]
            if better == subset:
                break
            subset = better
            tried.update(swapped[: self.swaps])
        return SearchResult.of(subset)

    def _by_importance(
        self, space: SearchSpace, subset: BlockSubset, importance: NDArray[np.float64]
    ) -> list[BlockSubset]:
        """Returns all subsets that one swap of runs can give, the one that removes least importance first."""
        inside, outside = (list(runs(blocks, self.max_run)) for blocks in (subset.removed, space.remaining(subset)))
        swapped = {subset.swap(a, b) for a, b in itertools.product(inside, outside) if len(a) == len(b)}
        return sorted(swapped, key=lambda s: (importance[list(s.removed)].sum(), s))


def runs(blocks: Sequence[int], longest: int) -> Iterator[tuple[int, ...]]:
    """Yields all runs of up to `longest` consecutive blocks among sorted ones."""
    for length in range(1, longest + 1):
        for run in zip(*(blocks[i:] for i in range(length)), strict=False):
            if run[-1] - run[0] == length - 1:
                yield run
