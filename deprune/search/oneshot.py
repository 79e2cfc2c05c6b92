"""One-shot removal by the loss of each block alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class OneShot(Search):
    """Removes the k blocks whose removal alone costs least. Ties go to the lower index.

    Source: the study's one-shot baseline (arXiv:2604.24938).
    Cost: N evaluations.
    """

    kind: ClassVar[Kind] = Kind.SIMPLE
    order: ClassVar[int] = 4
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(
        {Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.NEVER_WORSE_THAN_ONESHOT, Guarantee.TIES_TO_LOWER_BLOCKS}
    )

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Evaluates every single removal and takes the k best."""
        n_blocks, blocks = problem.space.n_blocks, problem.space.removable
        losses = problem.losses([BlockSubset.of(n_blocks, [b]) for b in blocks])
        order = tuple(b for _, b in sorted(zip(losses, blocks, strict=True)))[: problem.space.budget]
        return SearchResult(BlockSubset.of(n_blocks, order), order)
