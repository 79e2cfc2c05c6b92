"""The estimators against closed forms, statsmodels, and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from made import make_cells, make_results, make_runs
from scipy.stats import ncf
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.anova import anova_lm

from deprune.analysis import decompose
from deprune.analysis.variance.classical import _omega_interval, classical_table
from deprune.analysis.variance.decompose import ranges_without_one
from deprune.analysis.variance.estimators import cross_replicate, fit_then_decompose
from deprune.analysis.variance.factor_grid import Grid
from deprune.analysis.variance.headline import calibration_parts
from deprune.analysis.variance.panel import Panel, build_panel
from deprune.analysis.variance.reml import MixedModel
from tests.analysis.sweeps import plain

TRUTH = {
    ("model",): 30.0, ("calib_dataset",): 8.0, ("search",): 3.0, ("calib_dataset", "search"): 2.0,
    ("model", "calib_dataset", "objective"): 1.5, ("calib_dataset", "objective", "search"): 0.5,
}  # fmt: skip
SMALL = {"model": ("m0", "m1"), "calib_dataset": ("c4", "code", "facts"), "search": ("oneshot", "greedy", "beam")}


def make_panel(rng: np.random.Generator, draw: float = 1.0, run: float = 1.0, **options: object) -> Panel:
    runs = make_runs(**options)  # type: ignore[arg-type]
    panel = build_panel(runs, pd.Series(0.0, index=runs.index, name="accuracy"))
    cells = make_cells(panel.grid, {k: v for k, v in TRUTH.items() if {*k} <= {*panel.grid.factors}}, rng)
    noise = draw * rng.standard_normal(panel.n_draws)[panel.draws] + run * rng.standard_normal(len(panel.cells))
    return replace(panel, values=cells[panel.cells] + noise)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_components_add_up_to_the_variance_and_are_those_of_the_definition(sizes: list[int], seed: int) -> None:
    grid = Grid(tuple("abcd"[: len(sizes)]), tuple(tuple(range(size)) for size in sizes))
    cells = np.random.default_rng(seed).standard_normal(grid.n_cells)
    components = grid.by_term(grid.coefficients(cells) ** 2)
    assert components[1:].sum() == pytest.approx(cells.var(), abs=1e-12)
    for term, component in zip(grid.terms, components, strict=True):
        effect = cells.reshape(sizes)
        for axis, factor in enumerate(grid.factors):  # I − A for the term's factors, A for the others
            mean = effect.mean(axis=axis, keepdims=True)
            effect = effect - mean if factor in term else np.broadcast_to(mean, effect.shape)
        assert component == pytest.approx((effect**2).mean(), abs=1e-12)


@pytest.mark.parametrize("estimator", [cross_replicate, plain, lambda panel: fit_then_decompose(panel, 3)])
def test_without_noise_every_estimator_is_exact(estimator: object) -> None:
    panel = make_panel(np.random.default_rng(1), draw=0.0, run=0.0)
    estimate = estimator(panel)  # type: ignore[operator]
    for term, component in zip(panel.grid.terms, estimate.terms, strict=True):
        assert component == pytest.approx(TRUTH.get(term, 0.0), abs=1e-9)
    assert estimate.seed == pytest.approx(0.0, abs=1e-9)


def test_plain_components_are_statsmodels_type_two_sums_of_squares() -> None:
    panel = make_panel(np.random.default_rng(2), levels=SMALL, n_seeds=2)
    frame = panel.rows.astype({"budget": str}).assign(y=panel.values)
    formula = "y ~ (" + " + ".join(f"C({f}, Sum)" for f in panel.grid.factors) + ") ** 5"
    table = anova_lm(smf.ols(formula, frame).fit(), typ=2)["sum_sq"]
    expected = {tuple(p[2:-6] for p in label.split(":")): ss for label, ss in table.items() if label != "Residual"}
    n = len(panel.values)
    for term, component in zip(panel.grid.terms[1:], plain(panel).terms[1:], strict=True):
        assert component * n == pytest.approx(expected[term], rel=1e-9, abs=1e-9)


def test_cross_replicate_is_plain_minus_its_noise() -> None:
    """sigma2(mean) − tr(P S) / (r N), with S the covariance of the replicates: another formula for the same."""
    panel = make_panel(np.random.default_rng(3), levels=SMALL, n_seeds=3)
    cube, grid = panel.cube(), panel.grid
    covariance = np.cov(cube.T)  # cells × cells over replicates
    design = grid.design(len(grid.factors))[0]
    for i, term in enumerate(grid.terms[1:], 1):
        columns = design[:, grid.term_of == i]
        projector = columns @ columns.T / grid.n_cells
        noise = np.trace(projector @ covariance) / 3 / grid.n_cells
        assert cross_replicate(panel).terms[i] == pytest.approx(plain(panel).terms[i] - noise, abs=1e-10), term


def test_on_a_complete_grid_the_full_fit_is_the_cross_replicate_estimator() -> None:
    """Both are balanced ANOVA; only what is taken off as noise differs, by term or by stratum."""
    panel = make_panel(np.random.default_rng(4), levels=SMALL, draw=2.0)
    fitted, crossed = fit_then_decompose(panel, 5), cross_replicate(panel)
    assert fitted.terms.sum() == pytest.approx(crossed.terms.sum(), rel=0.01)
    assert fitted.seed == pytest.approx(crossed.seed, rel=1e-4)
    assert fitted.draw == pytest.approx(crossed.draw, rel=1e-3)


def test_reml_agrees_with_statsmodels_on_unbalanced_data() -> None:
    rng = np.random.default_rng(5)
    panel = make_panel(rng, levels=SMALL, draw=2.0)
    kept = np.flatnonzero(rng.random(len(panel.values)) < 0.7)
    design, _ = panel.grid.design(2)
    x, y, draws = design[panel.cells[kept]], panel.values[kept], panel.draws[kept]
    ours = MixedModel(x, draws).fit(y[:, None])
    theirs = MixedLM(y, x, groups=draws).fit(reml=True, gtol=1e-9)
    assert theirs.converged
    assert ours.draw[0] == pytest.approx(float(theirs.cov_re[0, 0]), rel=1e-3)
    assert ours.residual[0] == pytest.approx(theirs.scale, rel=1e-4)
    assert ours.coefficients[0] == pytest.approx(theirs.fe_params, abs=1e-4)
    noise = ours.residual[0] * np.eye(len(y)) + ours.draw[0] * (draws[:, None] == draws)
    covariance = np.linalg.inv(x.T @ np.linalg.solve(noise, x))
    assert ours.variances[0] == pytest.approx(np.diag(covariance), rel=1e-9)


def test_a_draw_of_no_variance_is_found_to_have_none() -> None:
    rng = np.random.default_rng(6)
    design, draws = np.ones((60, 1)), np.repeat(np.arange(20), 3)
    fit = MixedModel(design, draws).fit(rng.standard_normal((60, 200)))
    assert np.median(fit.draw) < 0.05
    assert (fit.draw == 0).mean() > 0.3
    assert (fit.draw + fit.residual).mean() == pytest.approx(1.0, abs=0.05)


def test_relabelling_and_reordering_change_nothing() -> None:
    panel = make_panel(np.random.default_rng(7), levels=SMALL)
    runs = panel.rows
    first = decompose(make_results(runs, 50 + panel.values), "accuracy", n_resamples=100)
    order = np.random.default_rng(8).permutation(len(runs))
    renamed = runs.iloc[order].assign(
        search=runs["search"].iloc[order].cat.rename_categories({"oneshot": "z", "greedy": "a", "beam": "k"}),
        model=runs["model"].iloc[order].cat.reorder_categories(["m1", "m0"]),
    )
    second = decompose(make_results(renamed, 50 + panel.values[order]), "accuracy", n_resamples=100)
    for quantity in ("variance", "share", "share_within"):
        a, b = first.headline[quantity], second.headline[quantity]
        assert a.tolist() == pytest.approx(b.tolist(), abs=1e-10, nan_ok=True)
    assert first.components["sigma2"].tolist() == pytest.approx(second.components["sigma2"].tolist(), abs=1e-10)
    assert first.factors["switch_rms"].tolist() == pytest.approx(second.factors["switch_rms"].tolist(), abs=1e-10)
    assert first.ratio.log == pytest.approx(second.ratio.log, abs=1e-10)


def test_shapley_shares_and_switches() -> None:
    panel = make_panel(np.random.default_rng(9), draw=0.0, run=0.0)
    result = decompose(make_results(panel.rows, 50 + panel.values), "accuracy", n_resamples=10)
    factors = result.factors.set_index("factor")
    single = factors.drop(index="calibration")
    assert single["shapley"].sum() == pytest.approx(1.0)
    total = sum(TRUTH.values())
    assert factors.loc["search", "first_order"] == pytest.approx(3 / total)
    assert factors.loc["search", "total"] == pytest.approx(5.5 / total)
    assert factors.loc["calibration", "total"] == pytest.approx(12 / total)
    # Two random, different levels of the search, everything else equal.
    cells = panel.cube().mean(axis=0).reshape(panel.grid.shape)
    axis = panel.grid.factors.index("search")
    moved = [np.take(cells, i, axis) - np.take(cells, j, axis) for i in range(7) for j in range(7) if i != j]
    assert factors.loc["search", "switch_rms"] == pytest.approx(np.sqrt(np.mean(np.square(moved))))


def test_ranges_without_one_level_are_those_of_sweeps_without_it() -> None:
    panel = make_panel(np.random.default_rng(14), levels=SMALL)
    whole = decompose(make_results(panel.rows, 50 + panel.values), "accuracy", n_resamples=10)
    logs, shares = [], []
    for search in SMALL["search"]:
        kept = (panel.rows["search"] != search).to_numpy()
        part = decompose(make_results(panel.rows[kept], 50 + panel.values[kept]), "accuracy", n_resamples=10)
        logs.append(part.ratio.log)
        shares.append(part.headline.set_index("quantity").loc["V_S", "share"])
    row = ranges_without_one(whole.leave_one_out).set_index(["factor", "quantity"])
    assert row.loc[("search", "log_ratio"), ["low", "high"]].tolist() == pytest.approx([min(logs), max(logs)])
    error = np.sqrt(2 / 3 * np.sum((np.array(shares) - np.mean(shares)) ** 2))
    assert row.loc[("search", "V_S_share"), "jackknife_se"] == pytest.approx(error)
    assert row.loc["model", "jackknife_se"].isna().all(), "three models say nothing of others"


def test_parts_of_calibration_are_component_shares_on_a_product_grid() -> None:
    panel = make_panel(np.random.default_rng(10), draw=0.0, run=0.0)
    parts = calibration_parts(panel, cross_replicate(panel)).set_index("factor")
    assert parts["variance"].sum() == pytest.approx(8 + 1.5)
    assert parts.loc["objective", "variance"] == pytest.approx(1.5 / 2)
    assert not parts["aliased"].any()


def test_parts_of_calibration_with_a_gap_still_add_up() -> None:
    panel = make_panel(np.random.default_rng(11), levels=SMALL)
    rows = panel.rows
    kept = ~((rows["calib_dataset"] == "code") & (rows["objective"] == "task_margin")).to_numpy()
    result = decompose(make_results(rows[kept], 50 + panel.values[kept]), "accuracy", n_resamples=20)
    assert "calib_config" in result.panel.grid.factors
    v_c = result.headline.set_index("quantity").loc["V_C", "variance"]
    assert result.calibration_parts["variance"].sum() == pytest.approx(v_c)
    assert result.calibration_parts["aliased"].all()


def test_search_seeds_are_no_replicates_of_a_draw() -> None:
    """Averaging search seeds keeps the components; the seed variance stays that of a single run."""
    rng = np.random.default_rng(12)
    twice = pd.concat([make_runs(SMALL).assign(search_seed=s) for s in (0, 1)])
    twice.index = [f"{i}-{s}" for s in (0, 1) for i in make_runs(SMALL).index]
    panel, estimates = build_panel(twice, pd.Series(0.0, index=twice.index, name="accuracy")), []
    for _ in range(100):
        noise = 2 * rng.standard_normal(panel.n_draws)[panel.draws] + 3 * rng.standard_normal(len(panel.cells))
        estimates.append(cross_replicate(replace(panel, values=noise)))
    seeds, draws = [e.seed for e in estimates], [e.draw for e in estimates]
    assert np.mean(seeds) == pytest.approx(4 + 9, abs=4 * np.std(seeds) / 10)
    assert np.mean(draws) == pytest.approx(4, abs=4 * np.std(draws) / 10)


def test_classical_table() -> None:
    panel = make_panel(np.random.default_rng(13), levels=SMALL)
    table = classical_table(panel).set_index("term")
    frame = panel.rows.astype({"budget": str}).assign(y=panel.values)
    formula = "y ~ (" + " + ".join(f"C({f})" for f in panel.grid.factors) + ") ** 2"
    theirs = anova_lm(smf.ols(formula, frame).fit(), typ=2)
    assert table.loc["search", "ss"] == pytest.approx(theirs.loc["C(search)", "sum_sq"], rel=1e-9)
    assert table["eta2"].sum() < 1
    assert table["error"].eq("term × seed").all()
    assert (table["omega2_low"] <= table["partial_omega2"].clip(lower=0) + 1e-9).all()
    assert (table["partial_omega2"] <= table["omega2_high"]).all()
    assert table["bias"].str.contains("biased upwards").all()


def test_ends_of_the_omega_interval_have_their_probabilities() -> None:
    low, high = _omega_interval(5.0, 3, 40, 44)
    for end, probability in ((low, 0.975), (high, 0.025)):
        assert ncf.cdf(5.0, 3, 40, end / (1 - end) * 44) == pytest.approx(probability, abs=1e-6)
