"""What models of the loss share: losses and subsets as numbers, and a distribution to draw blocks from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from deprune.search.base import BlockSubset, Floats, Generator, Problem, SearchSpace


def finite(losses: Sequence[float]) -> Floats:
    """Returns losses with the infinite ones replaced by the largest finite one, so that a model can be fitted."""
    values = np.asarray(losses, dtype=np.float64)
    known = values[np.isfinite(values)]
    return np.minimum(values, known.max()) if known.size else np.zeros_like(values)


def indicators(states: Sequence[tuple[int, ...]], n: int) -> Floats:
    """Returns one row of n numbers for each of some states of one size, 1 where it holds the index, else 0."""
    ones = np.zeros((len(states), n))
    ones[np.arange(len(states))[:, None], np.array(states, dtype=int)] = 1
    return ones


@dataclass(frozen=True, eq=False)
class BlockPrior:
    """Draws blocks with probabilities p_i ∝ exp(−z(s_i)/τ), s_i the loss without block i alone.

    Attributes:
        space: The subsets to draw.
        losses: s_i, `(N,)`; 0 for a protected block.
        log_weights: −z(s_i)/τ, `(N,)`; −∞ for a protected block.
    """

    space: SearchSpace
    losses: Floats
    log_weights: Floats

    @classmethod
    def of(cls, problem: Problem, temperature: float) -> Self:
        """Evaluates every single removal and returns the prior that follows."""
        space = problem.space
        singles = finite(problem.losses([BlockSubset.of(space.n_blocks, [b]) for b in space.removable]))
        losses, log_weights = np.zeros(space.n_blocks), np.full(space.n_blocks, -np.inf)
        losses[list(space.removable)] = singles
        log_weights[list(space.removable)] = (singles.mean() - singles) / (singles.std() or 1.0) / temperature
        return cls(space, losses, log_weights)

    def draw(self, n_blocks: int, among: Sequence[int], rng: Generator) -> list[int]:
        """Draws distinct blocks, one after the other, each by its share of the weight that is left.

        The largest of log-weights with Gumbel noise are such a draw (arXiv:1903.06059), and no weight can vanish.
        """
        keys = self.log_weights[list(among)] + rng.gumbel(size=len(among))
        return [among[i] for i in np.argsort(-keys)[:n_blocks]]

    def draw_subset(self, rng: Generator) -> BlockSubset:
        """Draws a subset of the space."""
        return BlockSubset.of(self.space.n_blocks, self.draw(self.space.budget, self.space.removable, rng))
