"""Rank correlations against scipy and full enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import make_results, make_runs
from scipy import stats

from deprune.analysis.read.published import read_table
from deprune.analysis.searches.ranks import (
    agreement_between_calibrations,
    ceiling,
    mean_correlation,
    mean_rank_correlation,
    perplexity_against_accuracy,
    rank_correlation,
    variance_and_noise,
)
from deprune.record.legacy import METRICS

small_ints = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=5)


@given(small_ints, st.sampled_from(["spearman", "kendall"]))
@settings(max_examples=60, deadline=None)
def test_coefficients_are_scipys_and_p_is_enumerated(pairs: list[tuple[int, int]], kind: str) -> None:
    x, y = zip(*pairs, strict=True)
    value, p = rank_correlation(x, y, kind)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(value)
        return
    statistic = stats.spearmanr if kind == "spearman" else stats.kendalltau
    assert value == pytest.approx(statistic(x, y).statistic, abs=1e-12)
    every = [abs(statistic(x, order).statistic) for order in itertools.permutations(y)]
    assert p == pytest.approx(np.mean(np.array(every) >= abs(value) - 1e-9))


def test_critical_values_for_seven_searches() -> None:
    """|rho| must reach 0.786 for p < 0.05 without ties."""
    order = range(7)
    for other, rho, significant in (((1, 0, 4, 2, 3, 6, 5), 0.821, True), ((2, 0, 1, 5, 3, 4, 6), 0.786, True),
                                    ((2, 1, 0, 5, 3, 4, 6), 0.75, False)):  # fmt: skip
        value, p = rank_correlation(order, other)
        assert round(value, 3) == rho
        assert (p < 0.05) == significant


def test_figure_2_of_the_study() -> None:
    ranks = read_table("figure2_ranks").merge(read_table("table2_rows"))
    printed = read_table("figure2_spearman").set_index("panel")["rho_printed"]
    for panel, group in ranks.groupby("panel"):
        rho, p = rank_correlation(group["avg_printed"].tolist(), group["accuracy_rank"].tolist())
        assert round(rho, 2) == printed[panel]
        assert 0 < p <= 1
    mean, p = mean_correlation(
        [(g["avg_printed"].tolist(), g["accuracy_rank"].tolist()) for _, g in ranks.groupby("panel")]
    )
    assert mean == pytest.approx(np.mean([-0.7778, -0.0769, -0.1273, -0.4182, -0.4643, 0.1111]), abs=1e-4)
    assert p < 0.15


@pytest.mark.slow
def test_the_ceiling_is_what_noise_leaves_of_a_perfect_correlation() -> None:
    """Both responses follow one truth; draws that move all searches alike do not count as noise."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((400, 6))
    levels = pd.MultiIndex.from_product([range(6), range(3)], names=["search", "calib_seed"])
    values, rows = {}, [{} for _ in range(400)]  # type: ignore[var-annotated]
    for name, noise in (("perplexity", 0.5), ("accuracy", 1.5)):
        of_draws = 5 * rng.standard_normal((400, 1, 3))
        values[name] = truth[:, :, None] + of_draws + noise * rng.standard_normal((400, 6, 3))
        for row, table in zip(rows, values[name], strict=True):
            runs = pd.DataFrame({"value": table.ravel()}, index=levels).reset_index()
            row[f"variance_{name}"], row[f"noise_{name}"] = variance_and_noise(runs, "value")
    means = [v.mean(axis=2) - v.mean(axis=(1, 2))[:, None] for v in values.values()]
    correlation = np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1]
    assert correlation == pytest.approx(1 / np.sqrt((1 + 0.5**2 / 3) * (1 + 1.5**2 / 3)), abs=0.03)
    assert ceiling(pd.DataFrame(rows)) == pytest.approx(correlation, abs=0.03)
    assert np.isnan(variance_and_noise(runs[runs["calib_seed"] == 0], "value")).all()


def test_ranks_of_a_sweep_and_copies() -> None:
    runs = make_runs({"model": ("m0",), "budget": (3,), "calib_dataset": ("c4", "code"), "objective": ("nll",)}, 1)
    n = len(runs)
    rng = np.random.default_rng(0)
    accuracy, log_perplexity = rng.uniform(40, 60, n), rng.uniform(2, 3, n)
    subsets = [f"{i:012b}" for i in range(1, n + 1)]
    subsets[1] = subsets[0]  # the second search copies the first
    accuracy[1], log_perplexity[1] = accuracy[0], log_perplexity[0]
    results = make_results(runs.assign(subset=subsets), accuracy)
    measured = {**METRICS["log_perplexity"], "metric": "log_perplexity", "higher_is_better": False}
    held_out = results.scores.assign(**measured, task="wiki", value=log_perplexity)
    results = type(results)(runs=results.runs, scores=pd.concat([results.scores, held_out]), excluded={})
    table = perplexity_against_accuracy(results)
    dropped = perplexity_against_accuracy(results, drop_copies=True)
    assert sorted(table["distinct"]) == [6, 7]
    first = (runs["calib_dataset"] == "c4").to_numpy()
    row = table[table["calib_config"].astype(str).str.contains("c4")].iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(log_perplexity[first], -accuracy[first]).statistic)
    kept = first & (np.arange(n) != 1)
    row = dropped[dropped["calib_config"].astype(str).str.contains("c4")].iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(log_perplexity[kept], -accuracy[kept]).statistic)
    assert (table["p_holm"] >= table["p_spearman"]).all()
    assert mean_rank_correlation(results)[0] == pytest.approx(dropped["spearman"].mean())
    agreement = agreement_between_calibrations(results, "accuracy")
    expected = stats.spearmanr(accuracy[first], accuracy[~first]).statistic
    assert agreement["spearman"].tolist() == pytest.approx([expected])
