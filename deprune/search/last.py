"""The last blocks: the rule of thumb."""

from dataclasses import dataclass

from deprune.search.base import BlockSubset, Generator, Kind, Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Last(Search):
    """Removes the k last blocks but the very last one.

    Source: the simple heuristic of Gromov et al. (arXiv:2403.17887).
    Cost: no evaluation but that of the result.
    """

    kind, order = Kind.CONTROL, 1

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Counts from the end; the very last block goes only where all others have gone."""
        n_blocks = problem.space.n_blocks
        order = problem.space.lowest([n_blocks - b if b < n_blocks - 1 else n_blocks + 1 for b in range(n_blocks)])
        return SearchResult(BlockSubset.of(n_blocks, order), order)
