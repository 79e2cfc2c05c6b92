"""Beam search: greedy removal that keeps several subsets of each size."""

from collections.abc import Sequence
from dataclasses import dataclass

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import EXACT_FOR_ONE_BLOCK, Generator, Kind, Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Keeps the best subsets of each size and extends each of them by every block.

    A subset that is reached in several ways is kept once. A width of 1 is greedy.

    Source: the study (arXiv:2604.24938), which states the width.
    Cost: at most N + width · (sum of N − i for i in 1..k−1) evaluations.

    Attributes:
        width: Number of subsets kept of each size.
    """

    kind, order, guarantees = Kind.COMPLEX, 7, EXACT_FOR_ONE_BLOCK
    at_least_one = ("width",)

    width: int = 5

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Extends the beam k times; of the last extensions only the best is wanted."""
        beam = [BlockSubset(problem.space.n_blocks)]
        for _ in range(problem.space.budget - 1):
            beam = problem.rank(_extensions(problem.space, beam))[: self.width]
        return SearchResult.of(problem.argmin(_extensions(problem.space, beam)))


def _extensions(space: SearchSpace, beam: Sequence[BlockSubset]) -> list[BlockSubset]:
    """Returns every subset that removes one block more than one of the beam."""
    return sorted({subset.remove(b) for subset in beam for b in space.remaining(subset)})
