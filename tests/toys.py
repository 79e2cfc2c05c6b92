"""Losses without a model, for tests of searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem

Loss = Callable[[BlockSubset], float]


def quadratic_loss(n_blocks: int, seed: int) -> Loss:
    """A random loss with a term for every block and every pair of removed blocks."""
    rng = np.random.default_rng(seed)
    singles, pairs = rng.random(n_blocks), rng.normal(size=(n_blocks, n_blocks))
    return lambda s: float(
        sum(singles[b] for b in s.removed) + sum(pairs[a, b] for a in s.removed for b in s.removed if a < b)
    )


@dataclass
class ToyLosses:
    """A source of losses that computes each once, as the evaluator does, and notes what it computed.

    The first n of the samples give the loss plus noise that shrinks to nothing at all of them.
    """

    loss: Loss
    n_blocks: int
    n_samples: int = 8
    computed: list[tuple[BlockSubset, int]] = field(default_factory=list)
    asked: list[Sequence[BlockSubset]] = field(default_factory=list)

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        n = n_samples or self.n_samples
        self.asked.append(tuple(subsets))
        self.computed += [(s, n) for s in dict.fromkeys(subsets) if (s, n) not in self.computed]
        return [self.loss(s) + (self.n_samples - n) * 1e-3 * (hash(s.removed) % 7) for s in subsets]

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        return list(subsets)

    def block_influence(self) -> NDArray[np.float64]:
        return np.random.default_rng(1).random(self.n_blocks)

    def angular_distances(self) -> NDArray[np.float64]:
        distances = np.random.default_rng(2).random((self.n_blocks + 1, self.n_blocks + 1))
        return (distances + distances.T) / 2 * (1 - np.eye(self.n_blocks + 1))

    def mutual_information(self) -> NDArray[np.float64]:
        return np.random.default_rng(3).random(self.n_blocks)


def problem(loss: Loss, n_blocks: int, budget: int, protected: Sequence[int] = ()) -> Problem:
    """A problem with a given loss."""
    return Problem(SearchSpace(n_blocks, budget, frozenset(protected)), ToyLosses(loss, n_blocks))
