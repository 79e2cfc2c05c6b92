"""Every subset: the ground truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.errors import ConfigError
from deprune.core.kinds import Guarantee, Kind
from deprune.search.base import Problem, Search, SearchResult

CHUNK = 4096
"""Number of subsets asked for at once; in lexicographic order they share long prefixes of kept blocks."""


@dataclass(frozen=True, kw_only=True)
class Exhaustive(Search):
    """Evaluates all subsets of k blocks and takes the best.

    Source: own; the optimum that every other search is held against. No subset is dropped by
    racing, so that all losses are exact and in the store.
    Cost: C(N, k) evaluations.

    Attributes:
        max_subsets: Refuse above this number.
    """

    kind: ClassVar[Kind] = Kind.REFERENCE
    order: ClassVar[int] = 13
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(
        {
            Guarantee.EXACT,
            Guarantee.EXACT_FOR_ONE_BLOCK,
            Guarantee.NEVER_WORSE_THAN_ONESHOT,
            Guarantee.TIES_TO_LOWER_BLOCKS,
        }
    )

    max_subsets: int = 100_000

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Evaluates the subsets in chunks.

        Raises:
            ConfigError: There are too many subsets.
        """
        if problem.space.size > self.max_subsets:
            raise ConfigError(
                f"There are {problem.space.size:,} subsets of {problem.space.budget} blocks, more than "
                f"search.max_subsets={self.max_subsets:,}; lower the budget or raise search.max_subsets."
            )
        subsets = problem.space.subsets()
        while chunk := list(itertools.islice(subsets, CHUNK)):
            problem.losses(chunk)
        return SearchResult.of(problem.best())
