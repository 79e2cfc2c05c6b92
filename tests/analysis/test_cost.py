"""Spread between searches and the Pareto front, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import make_results, make_runs

from deprune.analysis import load_published
from deprune.analysis.searches.cost import on_front, quality_against_cost, spread_across_searches

LEVELS = {"model": ("m0",), "budget": (3,), "calib_dataset": ("c4",), "objective": ("nll",)}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    first, second = np.array(points, dtype=float).T
    expected = [not any((x <= a and y <= b) and (x < a or y < b) for x, y in points) for a, b in points]
    assert on_front(first, second).tolist() == expected
    assert any(expected)


def test_the_noise_of_seeds_is_taken_from_the_spread() -> None:
    runs = make_runs(LEVELS, n_seeds=4)
    rng = np.random.default_rng(0)
    search = runs["search"].cat.codes.to_numpy()
    truth = 3 * rng.standard_normal(7)
    corrected = []
    for _ in range(100):
        results = make_results(runs, 50 + truth[search] + 4 * rng.standard_normal(len(runs)))
        corrected.append(spread_across_searches(results, "accuracy")["variance_without_noise"].iloc[0])
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert np.mean(corrected) == pytest.approx(truth.var(ddof=1), abs=4 * error)


def test_one_seed_has_no_noise_to_take_away() -> None:
    spread = spread_across_searches(load_published().where({"objective": "nll"}), "log perplexity")
    assert spread["variance_without_noise"].isna().all()
    assert (spread["distinct"] == 0).all(), "the study does not publish subsets"


def test_published_times_against_accuracy() -> None:
    published = load_published().where({"objective": "task_margin", "model": "llama3-8b", "budget": 7})
    table = quality_against_cost(published, "accuracy", "search_seconds").set_index("search")
    assert len(table) == 7
    # One-shot is as good as fast-block-select and slower; only greedy and BO buy anything for more time.
    assert set(table.index[table["on_front"]]) == {"fast_block_select", "greedy", "bo"}
