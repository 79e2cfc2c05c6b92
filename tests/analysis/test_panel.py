"""What a design cannot say is refused in a sentence, and the traps of other software are none here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made import make_results, make_runs

from deprune.analysis import decompose
from deprune.analysis.variance.estimators import cross_replicate, estimate, mixed_model
from deprune.analysis.variance.panel import alias_table, build_panel
from deprune.core.errors import AnalysisError

SMALL = {"model": ("m0", "m1"), "calib_dataset": ("c4", "code", "facts"), "search": ("oneshot", "greedy", "beam")}


def values_of(runs: pd.DataFrame) -> pd.Series:
    rng = np.random.default_rng(0)
    return pd.Series(50 + rng.standard_normal(len(runs)), index=runs.index, name="accuracy")


def with_gap() -> pd.DataFrame:
    runs = make_runs(SMALL)
    return runs[~((runs["calib_dataset"] == "code") & (runs["objective"] == "task_margin"))]


def test_an_empty_cell_is_refused_and_the_joint_factor_is_not() -> None:
    runs = with_gap()
    every = ("model", "budget", "calib_dataset", "objective", "search")
    with pytest.raises(AnalysisError, match=r"1 combinations of calib_dataset × objective .* calib_config"):
        build_panel(runs, values_of(runs), every)
    panel = build_panel(runs, values_of(runs), ("model", "budget", "calib_config", "search"))
    assert panel.is_complete
    assert panel.grid.shape == (2, 2, 5, 3)
    assert build_panel(runs, values_of(runs)).grid == panel.grid


def test_alias_table_names_the_pairs() -> None:
    table = alias_table(with_gap())
    assert table.to_dict("records") == [{"first": "calib_dataset", "second": "objective", "combinations": 5, "of": 6}]


def test_budgets_that_differ_by_model_become_conditions() -> None:
    runs = make_runs(SMALL)
    runs = runs[(runs["model"] == "m0") == (runs["budget"] == 7)]
    panel = build_panel(runs, values_of(runs))
    assert panel.grid.factors == ("condition", "calib_dataset", "objective", "search")
    assert panel.grid.levels[0] == ("m0 7", "m1 9")
    assert panel.is_complete


def test_a_factor_of_one_level_is_refused_by_name() -> None:
    runs = make_runs(SMALL)
    with pytest.raises(AnalysisError, match=r"calib_samples has a single level, 64"):
        build_panel(runs, values_of(runs), ("model", "budget", "calib_dataset", "objective", "calib_samples", "search"))


def test_a_factor_that_varies_may_not_be_left_out() -> None:
    """Otherwise its effect becomes error: search F = 0.75 instead of 3.59 on the study's Table 1."""
    runs = make_runs(SMALL)
    with pytest.raises(AnalysisError, match="budget varies among these runs but is not among the factors"):
        build_panel(runs, values_of(runs), ("model", "calib_dataset", "objective", "search"))


def test_a_misspelt_factor_gets_a_hint() -> None:
    runs = make_runs(SMALL)
    with pytest.raises(AnalysisError, match="did you mean search"):
        build_panel(runs, values_of(runs), ("serach",))


def test_numeric_levels_are_levels() -> None:
    runs = make_runs({**SMALL, "calib_samples": (16, 32, 64, 128), "objective": ("nll",)})
    panel = build_panel(runs, values_of(runs))
    index = panel.grid.terms.index(("calib_samples",))
    assert (panel.grid.term_of == index).sum() == 3  # three degrees of freedom, not one


def test_nothing_varies() -> None:
    runs = make_runs({k: v[:1] for k, v in {**SMALL, "budget": (7,), "objective": ("nll",)}.items()})
    with pytest.raises(AnalysisError, match="No factor varies"):
        build_panel(runs, values_of(runs))


def test_repeated_runs_are_refused_and_what_differs_is_named() -> None:
    runs = make_runs(SMALL)
    again = runs.assign(model_revision="2")
    again.index = "again " + again.index
    both = pd.concat([runs, again])
    with pytest.raises(AnalysisError, match="they differ in model_revision"):
        build_panel(both, values_of(both))


@pytest.mark.parametrize(
    ("seeds_of_beam", "estimator"), [(2, "cross-replicate, over the pairs that exist"), (1, "draw REML of order 5")]
)
def test_unequal_seeds_are_named_and_fitted_where_cells_have_no_pair(seeds_of_beam: int, estimator: str) -> None:
    runs = make_runs(SMALL, n_seeds=4)
    kept = runs[(runs["calib_seed"] < seeds_of_beam) | (runs["search"] != "beam")]
    panel = build_panel(kept, values_of(kept))
    assert (panel.is_complete, panel.n_cells_missing) == (False, 0)
    found = estimate(panel)
    assert found.estimator == estimator
    assert set(panel.missing["search"]) == {"beam"}
    assert len(panel.missing) == len(runs) - len(kept)
    if found.pairs is None:
        with pytest.raises(AnalysisError, match="fewer than two calibration seeds"):
            cross_replicate(panel)


def test_terms_that_cannot_be_estimated_are_named() -> None:
    """Two slow searches at one budget and one data set only."""
    runs = make_runs(SMALL, n_seeds=2)
    slow = runs["search"] == "beam"
    kept = runs[~slow | ((runs["budget"] == 7) & (runs["calib_dataset"] == "c4"))]
    panel = build_panel(kept, values_of(kept))
    with pytest.raises(AnalysisError, match=r"budget × search.*calib_dataset × search|calib_dataset × search.*budget"):
        mixed_model(panel, 2)
    with pytest.raises(AnalysisError, match="cannot be estimated"):
        decompose(make_results(kept, values_of(kept).to_numpy()), "accuracy")


def test_one_seed_is_labelled() -> None:
    runs = make_runs(SMALL, n_seeds=1)
    result = decompose(make_results(runs, values_of(runs).to_numpy()), "accuracy", n_resamples=20)
    assert result.headline["estimator"].str.contains("noise from the interactions above").all()
    assert any("one seed per cell" in note for note in result.notes)


def test_few_draws_are_labelled() -> None:
    runs = make_runs({**SMALL, "model": ("m0",)}, n_seeds=2)
    result = decompose(make_results(runs, values_of(runs).to_numpy()), "accuracy", n_resamples=20)
    assert any("6 independent calibration draws only" in note for note in result.notes)


def test_missing_responses_are_counted() -> None:
    runs = make_runs(SMALL)
    values = values_of(runs)
    values.iloc[:5] = np.nan
    panel = build_panel(runs, values)
    assert panel.notes[0].startswith("5 of 216 pruned runs lack the response")
    values.iloc[:108] = np.nan
    with pytest.raises(AnalysisError, match="missing in 108 of 216"):
        build_panel(runs, values)


def test_draws_are_blocks_of_all_that_they_gave() -> None:
    runs = make_runs(SMALL)
    (places,) = build_panel(runs, values_of(runs)).blocks
    assert places.shape == (2 * 3 * 3, 2 * 2 * 3)  # (model, dataset, seed) by (budget, objective, search)
    assert sorted(places.ravel()) == list(range(216))
    kinds = build_panel(with_gap(), values_of(with_gap())).blocks
    assert sorted(p.shape for p in kinds) == [(6, 6), (12, 12)]


def test_searches_on_draws_of_their_own_are_noted() -> None:
    runs = make_runs(SMALL)
    own = runs.assign(calib_sample_id=runs["calib_sample_id"] + runs["search"].astype(str))
    results = (make_results(r, values_of(r).to_numpy()) for r in (runs, own))
    noted = [any("do not share a draw" in n for n in decompose(r, "accuracy", n_resamples=10).notes) for r in results]
    assert noted == [False, True]


def test_a_response_that_is_constant_up_to_rounding_is_refused() -> None:
    runs = make_runs(SMALL)
    values = np.full(len(runs), 50.0)
    values[::2] += 7e-15
    with pytest.raises(AnalysisError, match=r"accuracy is the same in all \d+ runs"):
        decompose(make_results(runs, values), "accuracy")
