"""Bayesian optimisation against a second implementation of its expected improvement."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from deprune.core.subset import BlockSubset, SearchSpace, draw_distinct
from deprune.search import bo
from deprune.search.prior import BlockPrior
from tests.toys import problem, quadratic_loss


def expected_improvements(
    proposals: Sequence[BlockSubset], known: dict[BlockSubset, float], singles: NDArray[np.float64]
) -> list[float]:
    """A second implementation, from the formulas of Rasmussen & Williams (2006), Chapter 2."""

    def kernel(a: Sequence[BlockSubset], b: Sequence[BlockSubset], range_: float) -> NDArray[np.float64]:
        shared = [[len({*s.removed} & {*t.removed}) for t in b] for s in a]
        return np.exp(-(len(a[0].removed) - np.array(shared)) / range_)

    def trend(subsets: Sequence[BlockSubset]) -> NDArray[np.float64]:
        return np.array([sum(singles[b] for b in s.removed) for s in subsets])

    observed, losses = [*known], np.array([*known.values()])
    slope, constant = np.polyfit(trend(observed), losses, 1)
    residuals = losses - constant - slope * trend(observed)
    scale = residuals.std()
    y = (residuals - residuals.mean()) / scale

    def likelihood(range_: float) -> float:
        covariance = kernel(observed, observed, range_) + bo.NOISE * np.eye(len(y))
        return float(-0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(covariance)[1])

    range_ = max(bo.RANGES, key=likelihood)
    covariance = kernel(observed, observed, range_) + bo.NOISE * np.eye(len(y))
    gains = []
    for proposal, prior_mean in zip(proposals, constant + slope * trend(proposals), strict=True):
        k = kernel([proposal], observed, range_)[0]
        mean = prior_mean + residuals.mean() + scale * k @ np.linalg.solve(covariance, y)
        sigma = scale * math.sqrt(1 - k @ np.linalg.solve(covariance, k))
        z = (losses.min() - mean) / sigma
        phi, cumulative = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), (1 + math.erf(z / math.sqrt(2))) / 2
        gains.append(sigma * (z * cumulative + phi))
    return gains


@pytest.mark.parametrize("seed", range(3))
def test_expected_improvement_is_that_of_the_formulas(seed: int) -> None:
    loss, space, rng = quadratic_loss(10, seed), SearchSpace(10, 4), np.random.default_rng(seed)
    known = {s: loss(s) for s in draw_distinct(lambda: space.sample(rng), 30)}
    proposals = draw_distinct(lambda: space.sample(rng), 20, known)
    singles = np.array([loss(BlockSubset.of(10, [b])) for b in range(10)])
    expected = expected_improvements(proposals, known, singles)
    assert bo.expected_improvement(proposals, known, singles) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("trials", [4, 30])
def test_bo_evaluates_that_many_subsets(trials: int) -> None:
    task = problem(quadratic_loss(10, seed=1), 10, 4)
    bo.BayesianOptimisation(trials=trials).run(task, np.random.default_rng(0))
    evaluated = [s for s, _ in task.source.computed]
    assert sum(s in task.space for s in evaluated) == trials
    assert sum(len(s.removed) == 1 for s in evaluated) == 10


def test_bo_beats_random_draws_of_the_same_number() -> None:
    bo_losses, random_losses = [], []
    for seed in range(3):
        loss, rng = quadratic_loss(14, seed), np.random.default_rng(seed)
        task = problem(loss, 14, 5)
        bo_losses.append(loss(bo.BayesianOptimisation(trials=40).run(task, rng).subset))
        random_losses.append(min(loss(task.space.sample(rng)) for _ in range(54)))
    assert np.mean(bo_losses) < np.mean(random_losses)


def test_every_unknown_subset_is_proposed_where_there_are_few_and_near_ones_where_there_are_many() -> None:
    rng = np.random.default_rng(0)
    for n_blocks, budget in ((8, 3), (32, 9)):
        space = SearchSpace(n_blocks, budget)
        known = {subset: float(rng.random()) for subset in draw_distinct(lambda s=space: s.sample(rng), 7)}
        prior = BlockPrior(space, np.zeros(n_blocks), np.zeros(n_blocks))
        proposals = bo._proposals(known, prior, rng)
        assert len(set(proposals)) == len(proposals)
        assert not known.keys() & set(proposals)
        if n_blocks == 8:
            assert {*proposals, *known} == set(space.subsets())
        else:
            best = min(known, key=lambda subset: known[subset])
            assert set(space.neighbours(best)) - known.keys() <= set(proposals)
            assert len(proposals) < space.size / 1000
