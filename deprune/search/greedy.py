"""Greedy removal, one block after the other."""

from dataclasses import dataclass

from deprune.search.base import EXACT_FOR_ONE_BLOCK, BlockSubset, Generator, Kind, Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Greedy(Search):
    """Removes k times the block that costs least, given those already gone.

    Source: SLEB (arXiv:2402.09025), Algorithm 1.
    Deviations: ties go to the lower index; SLEB's code protects one block at each end, which
    here is `protect_first=1 protect_last=1`.
    Cost: sum of N − i for i in 0..k−1 evaluations.
    """

    kind, order, guarantees = Kind.COMPLEX, 6, EXACT_FOR_ONE_BLOCK

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Evaluates every extension of the current subset, k times."""
        subset = BlockSubset(problem.space.n_blocks)
        order: list[int] = []
        for _ in range(problem.space.budget):
            best = problem.argmin([subset.remove(b) for b in problem.space.remaining(subset)])
            order += [b for b in best.removed if b not in subset.removed]
            subset = best
        return SearchResult(subset, tuple(order))
