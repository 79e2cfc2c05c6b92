"""Every subset: the ground truth."""

import itertools
from dataclasses import dataclass

from deprune.core.errors import ConfigError
from deprune.search.base import Generator, Guarantee, Kind, Problem, Search, SearchResult

CHUNK = 4096
"""Number of subsets asked for at once; in lexicographic order they share long prefixes of kept blocks."""


@dataclass(frozen=True, kw_only=True)
class Exhaustive(Search):
    """Evaluates all subsets of k blocks and takes the best.

    Source: own; the optimum that every other search is held against. No subset is dropped by
    racing, so that all losses are exact and in the store. Refuses more than `max_subsets`.
    Cost: C(N, k) evaluations.
    """

    kind, order, guarantees = Kind.REFERENCE, 13, frozenset(Guarantee)

    max_subsets: int = 100_000

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Evaluates the subsets in chunks; refuses, by a ConfigError, too many."""
        if problem.space.size > self.max_subsets:
            raise ConfigError(
                f"There are {problem.space.size:,} subsets of {problem.space.budget} blocks, more than "
                f"search.max_subsets={self.max_subsets:,}; lower the budget or raise search.max_subsets."
            )
        subsets = problem.space.subsets()
        while chunk := list(itertools.islice(subsets, CHUNK)):
            problem.losses(chunk)
        return SearchResult.of(problem.best())
