"""Steepest descent by swaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.kinds import Guarantee, Kind
from deprune.search.base import Problem, Search, SearchResult
from deprune.search.oneshot import OneShot


@dataclass(frozen=True, kw_only=True)
class Local(Search):
    """Starts from the one-shot subset and makes the best swap of two blocks until none helps.

    Source: own; the textbook's steepest descent, as a cheap check of how far one-shot is from a
    local optimum.
    Cost: N + 1 + steps · k (N − k) evaluations at most, where steps is one more than the swaps made.
    """

    kind: ClassVar[Kind] = Kind.COMPLEX
    order: ClassVar[int] = 8
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(
        {Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.NEVER_WORSE_THAN_ONESHOT, Guarantee.TIES_TO_LOWER_BLOCKS}
    )

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Descends; equal losses are left for the lower blocks, so it ends."""
        subset = OneShot().run(problem, rng).subset
        while True:
            found = problem.argmin([subset, *problem.space.neighbours(subset)])
            better = problem.rank([subset, found])[0]  # racing may be wrong, and could lead around in circles
            if better == subset:
                return SearchResult.of(subset)
            subset = better
