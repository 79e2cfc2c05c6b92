"""The study's printed numbers come out of its printed tables, and its disagreements with itself are named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deprune.analysis import check_published, decompose, load_published
from deprune.analysis.read.published import published_remarks, read_table
from deprune.analysis.read.responses import response
from deprune.analysis.searches.cost import spread_across_searches
from deprune.analysis.variance.panel import build_panel
from deprune.core.errors import AnalysisError
from tests.analysis.sweeps import plain

OFF_BY_MORE_THAN_ROUNDING = {
    ("Table 1, average", "llama3.1-8b", 7, "oneshot"),
    ("Table 1, average", "llama3.1-8b", 7, "fast_block_select"),
    ("Table 2, average", "llama3-8b", 0, "dense"),
    ("Table 2, average", "llama3.1-8b", 9, "beam"),
    ("Table 2, average", "qwen3-8b", 7, "cbo"),
}


def test_every_derived_number_is_recomputed_and_disagreements_are_named() -> None:
    checks = check_published()
    counts = checks.groupby(checks["source"].str.split(",").str[0]).size()
    assert counts.to_dict() == {"Table 1": 45, "Table 2": 45, "Table 3": 7, "Figure 2": 6, "Figure 3": 12}
    off = checks[~checks["agrees"]]
    named = set(zip(off["source"], off["model"], off["budget"], off["search"], strict=True))
    assert named == OFF_BY_MORE_THAN_ROUNDING
    assert (off["note"] != "").all()
    assert (checks.loc[off.index, "recomputed"] - checks.loc[off.index, "printed"]).abs().max() < 0.0067


def test_figure_2_correlations() -> None:
    checks = check_published().query("source.str.startswith('Figure 2')")
    assert checks["recomputed"].round(4).tolist() == [-0.7778, -0.0769, -0.1273, -0.4182, -0.4643, 0.1111]


def test_figure_3_is_the_population_variance_and_not_the_sample_variance() -> None:
    checks = check_published().query("source.str.startswith('Figure 3')")
    assert checks["agrees"].all()
    assert not np.isclose(checks["recomputed"] * 7 / 6, checks["printed"], atol=0.05).any()


def test_spread_across_searches_gives_figure_3_from_unrounded_averages() -> None:
    spread = spread_across_searches(load_published().where({"objective": "task_margin"}), "accuracy")
    printed = read_table("figure3_variance").query("objective == 'task_margin'")
    merged = spread.astype({"model": str}).merge(printed, on=["model", "budget"])
    assert len(merged) == 6
    # The figure averages the printed, rounded averages; these are not rounded.
    assert np.allclose(merged["variance"], merged["sigma2_printed"], atol=0.06)
    assert (merged["searches"] == 7).all()


def test_published_runs_have_the_form_of_loaded_ones() -> None:
    published = load_published()
    assert len(published.runs) == 90
    assert len(published.scores) == 270 + 135
    assert published.runs["search"].cat.categories[0] == "dense"
    assert response(published, "accuracy").values.notna().sum() == 45
    times = published.runs["search_seconds"].dropna()
    assert len(times) == 7
    assert times.max() == 13869.36


def test_searches_share_of_table_2_depends_on_the_logarithm() -> None:
    """77 % of the variance raw, 53 % in logarithms: so perplexities are averaged as logarithms."""
    runs = load_published().where({"objective": "nll"}).runs
    raw = read_table("table2_perplexity").groupby(["model", "budget", "search"])["perplexity"].mean()
    logs = np.log(read_table("table2_perplexity").set_index(["model", "budget", "search"])["perplexity"])
    shares = []
    for values in (raw, logs.groupby(level=[0, 1, 2]).mean()):
        keys = list(zip(runs["model"], runs["budget"], runs["search"], strict=True))
        panel = build_panel(runs, pd.Series([values[k] for k in keys], index=runs.index, name="perplexity"))
        estimate = plain(panel)
        shares.append(estimate.terms[panel.grid.touching(["search"])].sum() / estimate.terms.sum())
    assert [round(100 * share) for share in shares] == [77, 53]


def test_calibration_and_search_cannot_be_compared_in_the_published_tables() -> None:
    result = decompose(load_published().where({"objective": "task_margin"}), "accuracy", n_resamples=50)
    assert result.ratio.verdict == "not identified"
    assert any("one calibration configuration only" in note for note in result.notes)
    assert any("noise from the interactions above" in e for e in result.headline["estimator"])


def test_a_response_missing_in_half_the_runs_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"accuracy is missing in 42 of 84 pruned runs"):
        decompose(load_published(), "accuracy")


def test_remarks_name_what_does_not_go_together() -> None:
    remarks = published_remarks()
    counts = remarks["said"].value_counts()
    assert counts["the margin measures what pruning costs"] == 12
    ranges = remarks[remarks["said"].str.startswith("searches differ")]["found"].str.extract(r"is ([\d.]+)")[0]
    assert ranges.astype(float).tolist() == [3.27, 4.81, 3.03, 5.60, 7.51]
    copies = remarks[remarks["said"].str.startswith("seven")]
    margin_copies = copies[copies["found"].str.contains("task_margin")]
    assert margin_copies["search"].str.contains("fast_block_select, oneshot|oneshot, fast_block_select").sum() == 6
    assert "beam, ga, greedy" in set(copies["search"])
