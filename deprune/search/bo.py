"""Bayesian optimisation with a Gaussian process over subsets."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deprune.core.subset import BlockSubset, draw_distinct
from deprune.search.base import NEVER_WORSE_THAN_ONESHOT, Floats, Generator, Kind, Problem, Search, SearchResult
from deprune.search.oneshot import OneShot
from deprune.search.prior import BlockPrior, finite, indicators

RANGES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Candidates for the range ρ of the kernel, in blocks."""

N_BEST, DOUBLE_SWAPS, DRAWS = 5, 100, 200
"""Number of subsets whose swaps are proposed, of double swaps of each of them, and of draws from the prior."""

NOISE = 1e-4
"""Variance of what the process cannot explain, as a fraction of the variance of the losses."""

Losses = dict[BlockSubset, float]


@dataclass(frozen=True, kw_only=True)
class BayesianOptimisation(Search):
    """Evaluates, one after the other, the subset of largest expected improvement under a Gaussian process.

    The process has the kernel exp(−(k − |S∩T|)/ρ) and the mean a + b Σ s_i over the blocks i of S,
    with s_i the loss without block i alone.

    Source: the study (arXiv:2604.24938) for the numbers of trials and of random starts.
    Deviations: unstated there, we chose kernel and mean; a and b by least squares and ρ by maximum
    likelihood on a grid, anew at every trial; the one-shot subset as the first trial; and as
    proposals all swaps and some random double swaps of the best subsets so far, and draws from
    the prior p_i ∝ exp(−z(s_i)/τ), or all subsets where there are no more than that. No subset is
    proposed twice.
    Cost: N + trials evaluations.

    Attributes:
        trials: Number of subsets evaluated, the starts included.
        random_starts: Number of them drawn uniformly before the process is first fitted.
        temperature: τ of the prior.
    """

    kind, order, guarantees, uses_seed = Kind.COMPLEX, 11, NEVER_WORSE_THAN_ONESHOT, True
    at_least_one, above_zero = ("trials", "random_starts"), ("temperature",)

    trials: int = 200
    random_starts: int = 10
    temperature: float = 1.0

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Evaluates the starts together and then one proposal at a time, until there are none or enough."""
        prior = BlockPrior.of(problem, self.temperature)

        def most_promising(known: Losses) -> BlockSubset | None:
            if not (proposals := _proposals(known, prior, rng)):
                return None
            return proposals[int(np.argmax(expected_improvement(proposals, known, prior.losses)))]

        return self._evaluate(problem, rng, most_promising)

    def rehearse(self, problem: Problem, rng: Generator) -> SearchResult:
        """Evaluates the starts and then neighbours of the best subset so far, one at a time, without a process."""
        space, neighbours = problem.space, functools.cache(problem.space.neighbours)

        def near(known: Losses) -> BlockSubset | None:
            new = (s for s in neighbours(min(known, key=known.__getitem__)) if s not in known)
            return next(new, None) or next(iter(draw_distinct(lambda: space.sample(rng), 1, known)), None)

        return self._evaluate(problem, rng, near)

    def _evaluate(
        self, problem: Problem, rng: Generator, propose: Callable[[Losses], BlockSubset | None]
    ) -> SearchResult:
        first = OneShot().run(problem, rng).subset
        drawn = draw_distinct(lambda: problem.space.sample(rng), self.random_starts, {first})
        starts = [first, *drawn][: self.trials]
        known = dict(zip(starts, problem.losses(starts), strict=True))
        while len(known) < self.trials and (proposal := propose(known)):
            known[proposal] = problem.losses([proposal])[0]
        return SearchResult.of(problem.best())


def _proposals(known: Losses, prior: BlockPrior, rng: Generator) -> list[BlockSubset]:
    """Returns subsets near the best ones and from the prior that were not evaluated."""
    if prior.space.size <= N_BEST * DOUBLE_SWAPS + DRAWS:
        return [s for s in prior.space.subsets() if s not in known]
    best = sorted(known, key=lambda s: (known[s], s))[:N_BEST]
    near = [neighbour for s in best for neighbour in prior.space.neighbours(s)]
    farther = [prior.space.swap_randomly(s, 2, rng) for s in best for _ in range(DOUBLE_SWAPS)]
    drawn = [prior.draw_subset(rng) for _ in range(DRAWS)]
    return [s for s in dict.fromkeys([*near, *farther, *drawn]) if s not in known]


def expected_improvement(proposals: Sequence[BlockSubset], known: Losses, block_losses: Floats) -> Floats:
    """Returns how far each proposal is expected to fall below the best known loss.

    Args:
        proposals: Subsets of one size.
        known: Losses of subsets of that size.
        block_losses: Loss without each block alone, `(N,)`; 0 where it is not known.
    """
    from scipy.stats import norm

    n_blocks, losses = len(block_losses), finite([*known.values()])
    observed, proposed = (indicators([s.removed for s in subsets], n_blocks) for subsets in (known, proposals))
    trend = np.linalg.lstsq(_terms(observed, block_losses), losses)[0]
    process = _fit(observed, losses - _terms(observed, block_losses) @ trend)
    mean, deviation = process.predict(proposed, return_std=True)
    gain = losses.min() - mean - _terms(proposed, block_losses) @ trend
    deviation = np.maximum(deviation, np.finfo(float).tiny)
    improvement: Floats = gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)
    return improvement


def _fit(bits: Floats, residuals: Floats) -> Any:
    """Returns the most likely of the processes, a GaussianProcessRegressor.

    For rows with k ones, |x − y|² = 2 (k − |S∩T|), so the RBF kernel of length √ρ is the wanted one.
    """
    from scipy.spatial.distance import cdist
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    parting = cdist(bits, bits, "sqeuclidean") / 2
    scaled = (residuals - residuals.mean()) / (residuals.std() or 1.0)
    range_ = max(RANGES, key=lambda range_: _log_likelihood(np.exp(-parting / range_), scaled))
    process = GaussianProcessRegressor(RBF(math.sqrt(range_), "fixed"), alpha=NOISE, optimizer=None, normalize_y=True)
    return process.fit(bits, residuals)


def _log_likelihood(kernel: Floats, values: Floats) -> float:
    """Returns the log-likelihood without mean, up to a constant; Rasmussen and Williams (2006), equation 2.30."""
    from scipy.linalg import solve_triangular

    factor = np.linalg.cholesky(kernel + NOISE * np.eye(len(values)))
    white = solve_triangular(factor, values, lower=True, check_finite=False)
    return float(-white @ white / 2 - np.log(np.diag(factor)).sum())


def _terms(bits: Floats, block_losses: Floats) -> Floats:
    """Returns the terms of the mean: a constant and the sum of the block losses."""
    return np.column_stack([np.ones(len(bits)), bits @ block_losses])
