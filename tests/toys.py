"""Problems on invented losses, for tests of searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem
from deprune.testing import Loss, ToyLosses, quadratic_loss

__all__ = ["Loss", "ToyLosses", "ToyProblem", "problem", "quadratic_loss"]


@dataclass
class NotedLosses(ToyLosses):
    """Notes each question as a whole, and what the evaluator would compute."""

    asked: list[Sequence[BlockSubset]] = field(default_factory=list)

    @property
    def computed(self) -> list[tuple[BlockSubset, int]]:
        return list(dict.fromkeys(self.requests))

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        self.asked.append(tuple(subsets))
        return super().losses(subsets, n_samples)


class ToyProblem(Problem):
    """A problem that lets tests look at its source."""

    def __init__(self, space: SearchSpace, source: NotedLosses) -> None:
        super().__init__(space, source)
        self.source = source


def problem(loss: Loss, n_blocks: int, budget: int, protected: Sequence[int] = ()) -> ToyProblem:
    """A problem with a given loss."""
    return ToyProblem(SearchSpace(n_blocks, budget, frozenset(protected)), NotedLosses(loss, n_blocks))
