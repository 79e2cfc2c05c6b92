"""Fast-Block-Select: its runs, its start, its cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem, Statistic
from deprune.search.fast_block_select import FastBlockSelect, MutualInformation, runs
from tests.toys import ToyLosses, problem, quadratic_loss

seeds = st.integers(0, 2**32)
quick = settings(max_examples=30, deadline=None)


def test_runs_are_all_runs() -> None:
    assert [*runs((1, 2, 3, 5), 3)] == [(1,), (2,), (3,), (5,), (1, 2), (2, 3), (1, 2, 3)]


def test_fast_block_select_starts_from_most_mutual_information_and_stays_where_no_swap_helps() -> None:
    task = problem(lambda s: 0.0 if s == start else 1.0, 9, 3)
    start = BlockSubset.of(9, np.argsort(-task.statistic(MutualInformation()))[:3].tolist())
    assert FastBlockSelect().run(task, np.random.default_rng(0)).subset == start
    assert len(task.source.computed) == 1 + 8


def test_fast_block_select_swaps_whole_runs() -> None:
    """Two blocks that must go together are found by one swap of a run, and by none of single blocks."""

    @dataclass
    class Known(ToyLosses):
        def statistic(self, statistic: Statistic) -> NDArray[np.float64]:
            return np.array([9.0, 8.0, 1.0, 1.0, 1.0, 1.0])

    def loss(s: BlockSubset) -> float:
        return {(0, 1): 1.0, (3, 4): 0.0}.get(s.removed, 2.0)

    def found(max_run: int) -> tuple[int, ...]:
        task = Problem(SearchSpace(6, 2), Known(loss, 6))
        return FastBlockSelect(max_run=max_run, swaps=20).run(task, np.random.default_rng(0)).subset.removed

    assert found(max_run=1) == (0, 1)
    assert found(max_run=2) == (3, 4)


@quick
@given(seeds, st.integers(1, 7), st.integers(1, 3))
def test_fast_block_select_stays_within_its_cost(seed: int, budget: int, max_rounds: int) -> None:
    loss = quadratic_loss(8, seed)
    task = problem(loss, 8, budget)
    start = BlockSubset.of(8, np.argsort(-task.statistic(MutualInformation()))[:budget].tolist())
    assert loss(FastBlockSelect(max_rounds=max_rounds).run(task, np.random.default_rng(0)).subset) <= loss(start)
    assert len(task.source.computed) <= 1 + 8 * max_rounds
