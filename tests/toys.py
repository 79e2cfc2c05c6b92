"""Losses without a model, for tests of searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deprune.search.base import Problem
from deprune.subset import BlockSubset, SearchSpace

Loss = Callable[[BlockSubset], float]


def quadratic_loss(n_blocks: int, seed: int) -> Loss:
    """A random loss with a term for every block and every pair of removed blocks."""
    rng = np.random.default_rng(seed)
    singles, pairs = rng.random(n_blocks), rng.normal(size=(n_blocks, n_blocks))
    return lambda s: float(
        sum(singles[b] for b in s.removed) + sum(pairs[a, b] for a in s.removed for b in s.removed if a < b)
    )


def problem(loss: Loss, n_blocks: int, budget: int, protected: Sequence[int] = ()) -> Problem:
    """A problem with a given loss."""
    space = SearchSpace(n_blocks, budget, frozenset(protected))
    return Problem(space, lambda subsets: [loss(s) for s in subsets])
