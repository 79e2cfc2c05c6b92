"""Beam search: greedy removal that keeps several subsets of each size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Keeps the best subsets of each size and extends each of them by every block.

    A subset that is reached in several ways is kept once. A width of 1 is greedy.

    Source: the study (arXiv:2604.24938), which states the width.
    Cost: at most N + width · (sum of N − i for i in 1..k−1) evaluations.

    Attributes:
        width: Number of subsets kept of each size.
    """

    kind: ClassVar[Kind] = Kind.COMPLEX
    order: ClassVar[int] = 7
    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(
        {Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.TIES_TO_LOWER_BLOCKS}
    )

    width: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "width")

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Extends the beam k times; of the last extensions only the best is wanted."""
        beam = [BlockSubset(problem.space.n_blocks)]
        for _ in range(problem.space.budget - 1):
            beam = problem.rank(_extensions(problem.space, beam))[: self.width]
        return SearchResult.of(problem.argmin(_extensions(problem.space, beam)))


def _extensions(space: SearchSpace, beam: Sequence[BlockSubset]) -> list[BlockSubset]:
    """Returns every subset that removes one block more than one of the beam."""
    return sorted({subset.remove(b) for subset in beam for b in space.remaining(subset)})
