"""Components over the pairs of runs that exist, against averages over explicit pairs and known truths."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import make_results, make_runs
from simulate import SCENARIOS, simulate

from deprune.analysis import decompose, load
from deprune.analysis.variance.estimators import cross_replicate, estimate
from deprune.analysis.variance.factor_grid import Grid
from deprune.analysis.variance.headline import quantities
from deprune.analysis.variance.intervals import resample
from deprune.analysis.variance.pairs import Pairs
from deprune.analysis.variance.panel import Panel, build_panel
from deprune.analysis.variance.permute import permutation_p
from tests.conftest import ROOT

GRID = Grid(("a", "b", "c"), (("x", "y", "z"), ("u", "v"), (1, 2)))


def with_holes(rng: np.random.Generator, r: int, grid: Grid = GRID, n_holes: int = 4) -> np.ndarray:
    """Holes that leave every cell two replicates."""
    runs = np.ones((r, grid.n_cells), bool)
    for place in rng.permutation(runs.size)[:n_holes]:
        runs.flat[place] = False
        runs.flat[place] = runs[:, place % grid.n_cells].sum() < 2
    return runs


def averaged_over_pairs(grid: Grid, cube: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """The components by loops over cells and replicates, main effects kept out of the pairs."""
    n, design = grid.n_cells, grid.design(1)[0]
    means = np.array([cube[runs[:, i], i].mean() for i in range(n)])
    effects = design @ (design.T @ means) / n
    products = np.zeros((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        of_i, of_j = ([k for k in range(len(runs)) if runs[k, c]] for c in (i, j))
        pairs = [(k, m) for k in of_i for m in of_j if k != m]
        rest = np.mean([(cube[k, i] - effects[i]) * (cube[m, j] - effects[j]) for k, m in pairs])
        products[i, j] = rest + means[i] * means[j] - (means[i] - effects[i]) * (means[j] - effects[j])
    found = np.array([(grid.coefficients(grid.coefficients(products).T)).diagonal()])
    terms = grid.by_term(found)[0]
    terms[0] = 0.0
    return terms


@given(st.integers(2, 4), st.integers(0, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_components_are_averages_over_the_pairs_that_exist(r: int, n_holes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    runs, cube = with_holes(rng, r, n_holes=n_holes), 50 + rng.standard_normal((r, GRID.n_cells))
    pairs, filled = Pairs(GRID, runs), np.where(runs, cube, np.nan)
    expected = averaged_over_pairs(GRID, cube, runs)
    assert pairs.terms(filled) == pytest.approx(expected, abs=1e-10)
    assert GRID.by_term(np.diag(pairs.products(filled)))[1:] == pytest.approx(expected[1:], abs=1e-10)
    variances = [cube[runs[:, i], i].var(ddof=1) for i in range(GRID.n_cells)]
    assert float(pairs.seed_variance(filled)) == pytest.approx(np.mean(variances))


def test_a_complete_grid_is_what_the_closed_form_says() -> None:
    rng = np.random.default_rng(0)
    cube, r = 80 + rng.standard_normal((3, GRID.n_cells)), 3
    b = GRID.coefficients(cube)
    expected = GRID.by_term((b.sum(axis=0) ** 2 - (b**2).sum(axis=0)) / (r * (r - 1)))
    found = Pairs(GRID, np.ones(cube.shape, bool)).terms(cube)
    assert found[1:] == pytest.approx(expected[1:], abs=1e-11)


def test_holes_leave_the_components_unbiased_whatever_a_draw_does_to_each_cell() -> None:
    rng = np.random.default_rng(1)
    runs, truth = with_holes(rng, 3), rng.standard_normal(GRID.n_cells)
    mixing = rng.standard_normal((GRID.n_cells, GRID.n_cells))  # any covariance of the cells of one replicate
    cubes = truth + rng.standard_normal((4000, 3, GRID.n_cells)) @ mixing
    found = Pairs(GRID, runs).terms(cubes)
    expected = GRID.by_term(GRID.coefficients(truth) ** 2)
    error = (found.mean(axis=0) - expected) / (found.std(axis=0) / np.sqrt(len(found)) + 1e-12)
    assert (np.abs(error[1:]) < 4).all(), error


def test_cells_without_a_pair_are_what_terms_of_low_order_say() -> None:
    grid = Grid(tuple("abcd"), tuple((1, 2, 3) for _ in range(4)))
    rng = np.random.default_rng(2)
    b = np.where([len(grid.terms[t]) < 4 for t in grid.term_of], rng.standard_normal(grid.n_cells), 0.0)
    cells = grid.design(4)[0] @ b
    runs = np.ones((2, grid.n_cells), bool)
    runs[:, 5], runs[0, [40, 77]] = False, False
    cube = np.where(runs, cells, np.nan)
    pairs = Pairs(grid, runs)
    assert pairs.predicted.tolist() == [5, 40, 77]
    assert pairs.means(cube) == pytest.approx(cells, abs=1e-9)
    assert pairs.terms(cube)[1:] == pytest.approx(grid.by_term(b**2)[1:], abs=1e-9)


def sweep_with_holes(share: float, seed: int = 0) -> Panel:
    scenario = replace(
        SCENARIOS["local draws, 3 seeds"], keep=lambda runs, rng: rng.random(len(runs)) > share,
    )  # fmt: skip
    return simulate(scenario, np.random.default_rng(seed))[0]


def test_relabelling_a_sweep_with_holes_changes_nothing() -> None:
    panel = sweep_with_holes(0.05)
    point = estimate(panel)
    rows = panel.rows.assign(y=panel.values).sample(frac=1, random_state=1)
    rows["search"] = rows["search"].cat.reorder_categories(rows["search"].cat.categories[::-1])
    rows["calib_seed"] = 2 - rows["calib_seed"]
    again = estimate(build_panel(rows, rows["y"]))
    assert point.estimator == "cross-replicate, over the pairs that exist"
    assert again.terms == pytest.approx(point.terms, rel=1e-9, abs=1e-9)
    assert (again.seed, again.draw) == pytest.approx((point.seed, point.draw))


@pytest.mark.slow
def test_missing_runs_are_named_by_their_factors() -> None:
    runs = make_runs(n_seeds=2)
    gone = runs.iloc[[3, 200]]
    kept = runs.drop(gone.index)
    rng = np.random.default_rng(0)
    found = decompose(make_results(kept, rng.normal(60, 3, len(kept))), "accuracy", n_resamples=20)
    (note,) = (note for note in found.notes if "missing" in note)
    for _, row in gone.iterrows():
        named = ("model", "budget", "calib_dataset", "objective", "search", "calib_seed")
        assert " ".join(f"{factor}={row[factor]}" for factor in named) in note
    draws = found.panel.laid_out.set_index(["model", "calib_dataset", "calib_seed"])["draw"]
    assert draws.groupby(level=[0, 1, 2], observed=True).nunique().eq(1).all(), "a missing run has its neighbours' draw"
    assert len(found.panel.missing) == 2


def test_resamples_have_the_holes_of_the_sweep_and_spread_as_without_them() -> None:
    full, holed = (sweep_with_holes(share, seed=4) for share in (0.0, 0.02))
    spreads = []
    for panel in (full, holed):
        point = estimate(panel)
        _, resamples = resample(panel, point, 300, np.random.default_rng(0))
        spreads.append({k: float(np.std(v)) for k, v in quantities(panel, resamples).items()})
    for name in ("V_C", "V_S", "V_seed"):
        assert spreads[1][name] == pytest.approx(spreads[0][name], rel=0.25)


@pytest.mark.slow
def test_resamples_of_a_draw_that_lacks_a_run_are_as_noisy_as_others() -> None:
    panel = sweep_with_holes(0.15, seed=5)
    point = estimate(panel)
    _, resamples = resample(panel, point, 300, np.random.default_rng(0))
    assert resamples[:, -1].mean() == pytest.approx(point.seed, rel=0.05)


def test_permutations_with_holes_find_what_is_there_and_little_else() -> None:
    rng = np.random.default_rng(0)
    assert permutation_p(sweep_with_holes(0.05), "calibration", 99, rng) <= 0.02
    nothing = replace(SCENARIOS["no calibration effect"], levels={"search": ("oneshot", "greedy")})
    nothing = replace(nothing, keep=lambda runs, r: r.random(len(runs)) > 0.05)
    found = [permutation_p(simulate(nothing, np.random.default_rng(i))[0], "calibration", 39, rng) for i in range(30)]
    assert np.mean(np.array(found) <= 0.05) < 0.2
    assert np.mean(found) > 0.3


@pytest.mark.slow
def test_runs_missing_from_the_committed_study_move_the_components_little() -> None:
    results = load(ROOT / "experiments" / "mini_study" / "records.parquet", where={"objective": "nll"})
    accuracy = results.runs["accuracy"].rename("accuracy")
    rng = np.random.default_rng(0)

    def v_c(runs: pd.DataFrame) -> float:
        panel = build_panel(runs, accuracy)
        point = cross_replicate(panel)
        return float(quantities(panel, np.append(point.terms, point.seed))["V_C"])

    whole = v_c(results.runs)
    pruned = results.runs.index[~results.runs["is_dense"]]
    gone = [rng.choice(pruned, len(pruned) // 100, replace=False) for _ in range(20)]
    changes = [abs(v_c(results.runs.drop(ids)) / whole - 1) for ids in gone]
    assert np.median(changes) < 0.05
