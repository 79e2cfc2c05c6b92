"""Exhaustive search finds the minimum, in chunks, or refuses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset
from deprune.search.exhaustive import Exhaustive
from tests.toys import problem, quadratic_loss

seeds = st.integers(0, 2**32)
quick = settings(max_examples=30, deadline=None)


@quick
@given(seeds, st.integers(1, 7), st.booleans())
def test_exhaustive_finds_the_minimum_and_asks_for_everything(seed: int, budget: int, protect: bool) -> None:
    loss, ends = quadratic_loss(9, seed), (0, 8) if protect else ()
    task = problem(loss, 9, budget, ends)
    expected = min(itertools.combinations(task.space.removable, budget), key=lambda r: loss(BlockSubset(9, r)))
    assert Exhaustive().run(task, np.random.default_rng(0)).subset.removed == expected
    assert len(task.source.computed) == math.comb(len(task.space.removable), budget)


def test_exhaustive_asks_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deprune.search.exhaustive.CHUNK", 50)
    task = problem(quadratic_loss(10, seed=1), 10, 3)
    Exhaustive().run(task, np.random.default_rng(0))
    assert [len(batch) for batch in task.source.asked] == [50, 50, 20]


def test_exhaustive_refuses_too_many_subsets_before_it_asks() -> None:
    task = problem(quadratic_loss(12, seed=1), 12, 3)
    with pytest.raises(ConfigError, match=r"220 subsets of 3 blocks, more than search\.max_subsets=219"):
        Exhaustive(max_subsets=219).run(task, np.random.default_rng(0))
    assert task.source.computed == []
