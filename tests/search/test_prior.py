"""Drawing blocks and subsets: probabilities, sizes, and when to give up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deprune.core.subset import BlockSubset, SearchSpace, draw_distinct
from deprune.search.prior import BlockPrior, finite
from tests.toys import problem, quadratic_loss

seeds = st.integers(0, 2**32)
subsets = st.sets(st.integers(1, 7), min_size=3, max_size=3).map(lambda blocks: BlockSubset.of(8, blocks))


def toy_prior(temperature: float) -> BlockPrior:
    return BlockPrior.of(problem(quadratic_loss(8, seed=7), 8, 3, (0,)), temperature)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_prior_draws_blocks_by_their_weight(temperature: float) -> None:
    prior, rng = toy_prior(temperature=temperature), np.random.default_rng(0)
    losses = prior.losses[1:]
    weights = np.exp(-(losses - losses.mean()) / losses.std() / temperature)
    drawn = [prior.draw(2, range(1, 8), rng) for _ in range(4000)]
    first, second = (np.bincount([d[i] for d in drawn], minlength=8)[1:] / 4000 for i in (0, 1))
    p = weights / weights.sum()
    q = [sum(p[i] * p[j] / (1 - p[i]) for i in range(7) if i != j) for j in range(7)]
    assert first == pytest.approx(p, abs=0.04)
    assert second == pytest.approx(q, abs=0.04)


def test_prior_draws_distinct_blocks_even_where_weights_vanish() -> None:
    prior, rng = toy_prior(temperature=1e-9), np.random.default_rng(0)
    assert [prior.draw_subset(rng) in prior.space for _ in range(20)] == [True] * 20


def test_infinite_losses_count_as_the_largest_finite_one() -> None:
    assert finite([1.0, math.inf, 3.0]).tolist() == [1, 3, 3]
    assert finite([math.inf, math.inf]).tolist() == [0, 0]


@given(subsets, st.integers(1, 4), seeds)
def test_random_swaps_exchange_that_many_blocks(subset: BlockSubset, n_swaps: int, seed: int) -> None:
    space = SearchSpace(8, 3, frozenset({0}))
    swapped = space.swap_randomly(subset, n_swaps, np.random.default_rng(seed))
    assert swapped in space
    assert len({*subset.removed} - {*swapped.removed}) == min(n_swaps, 3)


def test_drawing_distinct_subsets_gives_up() -> None:
    space, rng = SearchSpace(5, 2), np.random.default_rng(0)
    unwanted = {BlockSubset(5, (0, 1)), BlockSubset(5, (3, 4))}
    drawn = draw_distinct(lambda: space.sample(rng), 20, unwanted)
    assert {*drawn} == {*space.subsets()} - unwanted
    assert len(drawn) == 8
