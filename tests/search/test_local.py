"""Descent by swaps ends in a local optimum."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deprune.core.subset import BlockSubset
from deprune.search.local import Local
from tests.toys import problem, quadratic_loss

seeds = st.integers(0, 2**32)
quick = settings(max_examples=30, deadline=None)


@quick
@given(seeds, st.integers(1, 7))
def test_local_ends_where_no_swap_helps(seed: int, budget: int) -> None:
    loss = quadratic_loss(8, seed)
    found = Local().run(problem(loss, 8, budget), np.random.default_rng(0)).subset
    neighbours = [
        BlockSubset.of(8, r) for r in itertools.combinations(range(8), budget) if len({*r} - {*found.removed}) == 1
    ]
    assert all(loss(found) <= loss(s) for s in neighbours)
