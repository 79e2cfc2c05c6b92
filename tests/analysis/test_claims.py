"""Verdicts on sweeps whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from deprune.analysis import load, load_published
from deprune.analysis.adjust import Method, benjamini_hochberg, holm, with_adjusted
from deprune.analysis.report import Claim, gather, judge, with_published_ranks
from deprune.analysis.searches.gains import gains_over_oneshot
from deprune.analysis.variance.headline import Ratio
from tests.analysis.sweeps import DENSE, LEVELS, Truth, write_sweep

SMALL = {"model": ("tiny",), "budget": (3,), "calib_seed": range(3)}
ONE_BUDGET = {"budget": (3,)}
TWO_DRAWS = {**ONE_BUDGET, "calib_seed": range(2)}


def verdicts(folder: Path, truth: Truth, levels: dict[str, Any] | None = None, seed: int = 0) -> list[Claim]:
    write_sweep(folder, truth, levels or {}, seed)
    return list(judge(gather(load(folder), ["accuracy", "log perplexity"], n_resamples=500)))


def parts_of(claim: Claim) -> dict[str, str]:
    return {part.subject: part.verdict for part in claim.parts}


def test_where_calibration_dominates(tmp_path: Path) -> None:
    one, two, three, four = verdicts(tmp_path, Truth(calibration=3, search=0.5))
    assert one.verdict == "supported"
    assert set(parts_of(two).values()) == {"supported"}
    assert parts_of(three) == {
        "patterns of tiny_llama": "supported", "patterns of tiny_neox": "supported", "log perplexity": "supported",
        "accuracy": "not supported",
    }  # fmt: skip
    assert three.verdict == "not supported", "accuracy is said to be comparable, and is not"
    assert "calibration larger" in three.parts[-1].reason
    assert four.verdict != "undecided"


def test_where_search_dominates(tmp_path: Path) -> None:
    _, two, three, four = verdicts(tmp_path, Truth(calibration=0.3, search=3, gain=0.5, agreement=1.0), ONE_BUDGET)
    assert set(parts_of(two).values()) == {"not supported"}
    assert set(parts_of(three).values()) == {"not supported"}
    assert all("earch larger" in part.reason for part in three.parts)
    assert four.verdict == "not supported", "the ranks are made to agree"


def test_where_both_matter_alike_and_accuracy_is_comparable(tmp_path: Path) -> None:
    _, _, three, _ = verdicts(tmp_path, Truth(calibration=1, search=1), ONE_BUDGET)
    assert parts_of(three)["accuracy"] == "supported"


def test_holm_makes_the_third_claim_harder(tmp_path: Path) -> None:
    """Ratios whose own interval just excludes zero are no evidence among several."""
    write_sweep(tmp_path, Truth(calibration=3, search=0.5), SMALL)
    evidence = gather(load(tmp_path), ["accuracy", "log perplexity"], n_resamples=100)
    (patterns,) = evidence.patterns
    ratio = Ratio(log=1.0, low=0.05, high=1.95, p=0.03, verdict="calibration larger")
    weak = replace(evidence, patterns=tuple(replace(patterns, model=m, ratio=ratio) for m in "ab"))
    expected = multipletests(weak.primary["p"], method="holm")[1]
    assert weak.primary["p_holm"].tolist() == pytest.approx(expected.tolist())
    parts = [part for part in judge(weak)[2].parts if part.subject in ("patterns of a", "patterns of b")]
    assert [part.verdict for part in parts] == ["undecided"] * 2
    assert all("by its own interval alone" in part.reason for part in parts)


def test_where_draws_drown_everything(tmp_path: Path) -> None:
    one, _, three, _ = verdicts(
        tmp_path, Truth(calibration=0.3, search=0.3, draw=3), {**ONE_BUDGET, "calib_seed": range(2)}
    )
    assert one.verdict == "undecided"
    assert three.verdict == "undecided"


def test_ranks_of_noise_are_no_evidence_of_disagreement(tmp_path: Path) -> None:
    *_, four = verdicts(
        tmp_path, Truth(calibration=1, search=0, draw=0.1, run=1), {**ONE_BUDGET, "calib_seed": range(2)}
    )
    assert four.verdict == "undecided"
    assert "too little from noise to be ranked" in four.parts[0].reason


def test_no_effect_at_all_is_not_called_supported(tmp_path: Path) -> None:
    one, *_ = verdicts(tmp_path, Truth(calibration=0, search=2, draw=0.3), {**ONE_BUDGET, "calib_seed": range(8)})
    assert one.verdict == "not supported"


def test_one_seed_gives_no_verdict_on_calibration(tmp_path: Path) -> None:
    one, two, three, _ = verdicts(tmp_path, Truth(calibration=3, search=0.5), {**ONE_BUDGET, "calib_seed": (0,)})
    assert {one.verdict, three.verdict} == {"undecided"}
    assert "drawn once" in one.parts[0].reason
    assert all("one calibration seed" in part.reason for part in three.parts)
    assert parts_of(two)["gain in accuracy"] != "undecided", "searches are compared within a draw"


def test_one_search_and_no_tasks(tmp_path: Path) -> None:
    one, two, three, four = verdicts(tmp_path, Truth(), {**SMALL, "search": ("greedy",)})
    assert one.verdict != "undecided"
    assert "One-shot or every complex search is missing" in two.parts[0].reason
    assert "no two searches" in two.parts[-1].reason
    assert all("cannot be compared" in part.reason for part in three.parts)
    assert four.verdict == "undecided"
    results = load(tmp_path)
    bare = replace(results, scores=results.scores.iloc[:0])
    *_, third, fourth = judge(gather(bare, n_resamples=100))
    assert {"log perplexity": "undecided", "accuracy": "undecided"}.items() <= parts_of(third).items()
    assert "No run has a measured accuracy" in third.parts[-1].reason
    assert "Ranks need both" in fourth.reason


def test_the_study_itself() -> None:
    evidence = with_published_ranks(gather(load_published(), n_resamples=100))
    one, two, three, four = judge(evidence)
    assert {c.verdict for c in (one, two, three)} == {"undecided"}
    assert "No run says which blocks were removed" in one.reason
    assert four.verdict == "supported"
    mean = np.mean([-0.7778, -0.0769, -0.1273, -0.4182, -0.4643, 0.1111])
    assert f"{mean:+.2f}" in four.reason


@pytest.mark.parametrize("seed", range(3))
def test_gains_are_those_of_a_loop(tmp_path: Path, seed: int) -> None:
    write_sweep(tmp_path, Truth(gain=0.25), SMALL, seed)
    results = load(tmp_path)
    table = gains_over_oneshot(results, "accuracy").set_index("search")
    runs = results.runs.assign(cell=lambda r: r["calib_dataset"].astype(str) + r["calib_seed"].astype(str))
    means = results.scores[results.scores["metric"] == "acc"].groupby("run_id", observed=True)["value"].mean() * 100
    for search in [s for s in LEVELS["search"] if s != "oneshot"]:
        gained, lost = [], []
        for _, cell in runs.groupby("cell"):
            value = {str(s): means[run_id] for run_id, s in cell["search"].items()}
            gained.append(value[search] - value["oneshot"])
            lost.append(100 * DENSE["accuracy"] - value["oneshot"])
        n = len(gained)
        left = [(sum(gained) - g) / (sum(lost) - x) for g, x in zip(gained, lost, strict=True)]
        error = np.sqrt((n - 1) ** 2 / n * np.var(left, ddof=1))
        assert table.loc[search, "recovered"] == pytest.approx(sum(gained) / sum(lost))
        assert table.loc[search, "draws"] == n == 12
        assert (table.loc[search, "high"] - table.loc[search, "low"]) / error == pytest.approx(2 * 2.97, abs=0.1)


@pytest.mark.filterwarnings("error")
def test_a_search_that_shares_no_condition_with_oneshot_has_no_gain(tmp_path: Path) -> None:
    write_sweep(tmp_path, Truth(), {**SMALL, "budget": (2, 3)})
    results = load(tmp_path)
    runs = results.runs
    left = runs[~((runs["search"] == "oneshot") & (runs["budget"] == 2))]
    left = left[~((left["search"] == "greedy") & (left["budget"] == 3))]
    found = gains_over_oneshot(replace(results, runs=left), "accuracy")
    assert set(found["search"]) == set(LEVELS["search"]) - {"oneshot", "greedy"}
    assert (found["cells"] == 12).all()
    assert gains_over_oneshot(replace(results, runs=runs[runs["search"] != "oneshot"]), "accuracy").empty


@pytest.mark.parametrize(("method", "name"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_adjusted_p_values_are_those_of_statsmodels(method: Method, name: str, n: int) -> None:
    p = np.random.default_rng(n).uniform(size=n) ** 3
    p[n // 2] = p[0]
    table = pd.DataFrame({"p": [*p, np.nan]})
    found = with_adjusted(table, "p", "adjusted", method)["adjusted"]
    np.testing.assert_allclose(found[:-1], multipletests(p, method=name)[1], rtol=1e-14)
    assert np.isnan(found.iloc[-1])
    assert "adjusted" not in with_adjusted(pd.DataFrame(), "p", "adjusted", method)
