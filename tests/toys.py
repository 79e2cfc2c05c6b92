"""Problems on invented losses, for tests of searches."""

from __future__ import annotations

from collections.abc import Sequence

from deprune.core.subset import SearchSpace
from deprune.search.base import Problem
from deprune.testing import Loss, ToyLosses, quadratic_loss

__all__ = ["Loss", "ToyLosses", "ToyProblem", "problem", "quadratic_loss"]


class ToyProblem(Problem):
    """A problem that lets tests look at its source."""

    def __init__(self, space: SearchSpace, source: ToyLosses) -> None:
        super().__init__(space, source)
        self.source = source


def problem(loss: Loss, n_blocks: int, budget: int, protected: Sequence[int] = ()) -> ToyProblem:
    """A problem with a given loss."""
    return ToyProblem(SearchSpace(n_blocks, budget, frozenset(protected)), ToyLosses(loss, n_blocks))
