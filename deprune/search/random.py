"""A random subset: the control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.kinds import Kind
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Random(Search):
    """Removes k blocks drawn uniformly, without looking at any loss.

    Source: the usual control. Cost: no evaluation but that of the result.
    """

    kind: ClassVar[Kind] = Kind.CONTROL
    order: ClassVar[int] = 0
    uses_seed: ClassVar[bool] = True

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Draws one subset."""
        subset = problem.space.sample(rng)
        return SearchResult(subset, subset.removed)
