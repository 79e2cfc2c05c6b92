"""Steepest descent by swaps."""

from dataclasses import dataclass

from deprune.search.base import NEVER_WORSE_THAN_ONESHOT, Generator, Kind, Problem, Search, SearchResult
from deprune.search.oneshot import OneShot


@dataclass(frozen=True, kw_only=True)
class Local(Search):
    """Starts from the one-shot subset and makes the best swap of two blocks until none helps.

    Source: own; the textbook's steepest descent, as a cheap check of how far one-shot is from a
    local optimum.
    Cost: N + 1 + steps · k (N − k) evaluations at most, where steps is one more than the swaps made.
    """

    kind, order, guarantees = Kind.COMPLEX, 8, NEVER_WORSE_THAN_ONESHOT

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Descends; equal losses are left for the lower blocks, so it ends."""
        before, subset = None, OneShot().run(problem, rng).subset
        while subset != before:
            before, subset = subset, problem.best_beside(subset, problem.space.neighbours(subset))
        return SearchResult.of(subset)
