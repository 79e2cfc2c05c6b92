"""Budgets and subsets are whole numbers of blocks: none only where 0 was given, and one block always stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset
from deprune.run.identity import resolve_budget
from tests.conftest import Command


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True) | st.integers(0, 199))
@example(12, 0.01)
@example(12, 0.99)
@example(1, 0.5)
def test_a_budget_is_none_only_where_0_was_given(n_blocks: int, budget: float) -> None:
    nearest = {
        n for n in range(n_blocks + 1) if abs(n - budget * (n_blocks if isinstance(budget, float) else 1)) <= 0.5
    }
    try:
        resolved = resolve_budget(budget, n_blocks)
    except ConfigError:
        assert not nearest & {*range(1, n_blocks)} or nearest & {0, n_blocks}
        assert budget != 0
    else:
        assert resolved in nearest
        assert resolved == 0 if budget == 0 else 1 <= resolved <= n_blocks - 1


@given(
    st.integers(1, 6),
    st.lists(st.integers(-1, 6) | st.floats() | st.text(max_size=1) | st.booleans() | st.none(), max_size=6),
)
def test_a_subset_is_of_distinct_blocks(n_blocks: int, removed: list[Any]) -> None:
    whole = [b for b in removed if type(b) is int and 0 <= b < n_blocks]
    if len({*whole}) == len(removed):
        assert BlockSubset.of(n_blocks, removed).removed == tuple(sorted(removed))
    else:
        with pytest.raises(ConfigError):
            BlockSubset.of(n_blocks, removed)


def test_fractions_of_nothing_in_a_grid_are_no_dense_runs(sweep_here: Command) -> None:
    small = ["calib.n_samples=2", "calib.seq_len=16", "search=last", "eval=none", "tracking=none"]
    result = sweep_here("-m", "budget=0.01,0.99,1", *small)
    assert result.code == 1
    assert "The budget 0.01 of 12 blocks is none of them; give 0 for the dense model, or 1 to 11 blocks." in result.out
    assert "The budget 0.99 of 12 blocks is all of them" in result.out
    assert "Jobs: 1 done, 0 found done before, 2 failed." in result.out
