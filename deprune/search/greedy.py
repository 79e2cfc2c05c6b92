"""Greedy removal, one block after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Greedy(Search):
    """Removes k times the block that costs least, given those already gone.

    Source: SLEB (arXiv:2402.09025), Algorithm 1.
    Deviations: ties go to the lower index; SLEB's code protects one block at each end, which
    here is `protect_first=1 protect_last=1`.
    Cost: sum of N − i for i in 0..k−1 evaluations.
    """

    kind: ClassVar[Kind] = Kind.COMPLEX
    order: ClassVar[int] = 6
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(
        {Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.TIES_TO_LOWER_BLOCKS}
    )

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Evaluates every extension of the current subset, k times."""
        subset = BlockSubset(problem.space.n_blocks)
        order: list[int] = []
        for _ in range(problem.space.budget):
            candidates = [b for b in problem.space.removable if b not in subset.removed]
            best = problem.argmin([subset.remove(b) for b in candidates])
            order += [b for b in best.removed if b not in subset.removed]
            subset = best
        return SearchResult(subset, tuple(order))
