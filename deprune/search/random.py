"""A random subset: the control."""

from dataclasses import dataclass

from deprune.search.base import Generator, Kind, Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Random(Search):
    """Removes k blocks drawn uniformly, without looking at any loss.

    Source: the usual control. Cost: no evaluation but that of the result.
    """

    kind, order, uses_seed = Kind.CONTROL, 0, True

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Draws one subset."""
        return SearchResult.of(problem.space.sample(rng))
