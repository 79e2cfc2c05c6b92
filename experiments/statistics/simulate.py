"""Measures bias, coverage and false verdicts of the variance decomposition on sweeps whose truth is known.

python experiments/statistics/simulate.py <folder for the tables> [simulations] [scenario ...]

Writes `estimates.csv` (one row per scenario and quantity) and `verdicts.csv` (one row per scenario); a
scenario that is already in the tables is left as it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from made import make_cells, make_runs
from scipy import stats

from deprune.analysis.variance.estimators import estimate
from deprune.analysis.variance.headline import Resampled, quantities, ratio
from deprune.analysis.variance.intervals import interval_of_log_ratio, interval_of_share, resample
from deprune.analysis.variance.item_noise import item_noise
from deprune.analysis.variance.panel import Panel, build_panel
from deprune.analysis.variance.permute import permutation_p

N_RESAMPLES = 500
N_PERMUTATIONS = 199

D, J, S, M, B, N = "calib_dataset", "objective", "search", "model", "budget", "calib_samples"
CONDITION = {(M,): 30.0, (B,): 20.0, (M, B): 6.0}
CALIBRATION = {(D,): 8.0, (J,): 5.0, (D, J): 3.0, (M, D): 2.5, (B, D): 1.5, (M, D, J): 1.5}
SEARCH = {(S,): 3.0, (M, S): 2.0, (B, S): 1.0}
BOTH = {(D, S): 2.0, (J, S): 1.0, (D, J, S): 1.5}
FULL = {**CONDITION, **CALIBRATION, **SEARCH, **BOTH}
PAIRS = {term: size for term, size in FULL.items() if len(term) < 3}
SMALL = {M: ("m0", "m1"), D: ("c4", "wikitext", "code"), S: ("oneshot", "greedy", "beam", "ga", "bo")}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A sweep and its noise.

    Attributes:
        truth: Component of each term.
        draw: Variance that all runs of one calibration draw share.
        run: Variance of a run.
        local: Variance that the runs of one draw share within a budget and configuration only.
        own_draws: A draw belongs to one cell of the searches' rivals; otherwise budgets and objectives share it.
        nested: The draw's effect on n samples is a mean over its first n, so that larger counts share
            and damp it.
        levels: Levels that differ from the grid of 3 models, 2 budgets, 4 corpora, 2 objectives and 7 searches.
        keep: Which runs exist; by default all.
        items: Number of evaluation items; 0 evaluates without noise.
    """

    truth: Mapping[tuple[str, ...], float] = field(default_factory=lambda: FULL)
    seeds: int = 3
    draw: float = 6.0
    run: float = 6.0
    local: float = 0.0
    own_draws: bool = False
    nested: bool = False
    levels: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    keep: Callable[[pd.DataFrame, np.random.Generator], np.ndarray] | None = None
    items: int = 0


def _some_missing(runs: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Three in ten cells missing, one to three seeds in the others."""
    cell = runs.groupby([M, B, D, J, S], observed=True).ngroup().to_numpy()
    n_seeds = rng.integers(1, 4, cell.max() + 1) * (rng.random(cell.max() + 1) > 0.3)
    return runs["calib_seed"].to_numpy(int) < n_seeds[cell]


def _one_in(n: int) -> Callable[[pd.DataFrame, np.random.Generator], np.ndarray]:
    """One run in n missing, anywhere."""
    return lambda runs, rng: rng.permutation(len(runs)) % n > 0


def _failing_search(runs: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """A quarter of the runs of the two slowest searches missing, as where they are killed or run out of time."""
    slow = runs[S].cat.codes.to_numpy(int) >= runs[S].cat.codes.max() - 1
    return ~slow | (rng.random(len(runs)) > 0.25)


def _unequal_seeds(runs: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """One to five seeds, fewer for the slower searches."""
    return runs["calib_seed"].to_numpy(int) < 5 - runs[S].cat.codes.to_numpy(int)


SCENARIOS = {
    "balanced, 2 seeds": Scenario(seeds=2),
    "balanced, 3 seeds": Scenario(),
    "balanced, 5 seeds": Scenario(seeds=5),
    "own draws, 2 seeds": Scenario(seeds=2, own_draws=True),
    "own draws, 3 seeds": Scenario(own_draws=True),
    "own draws, 5 seeds": Scenario(seeds=5, own_draws=True),
    "strong draws, 3 seeds": Scenario(draw=23.0, run=9.0),
    "strong own draws, 3 seeds": Scenario(draw=23.0, run=9.0, own_draws=True),
    "nested counts, 3 seeds": Scenario(
        truth={(N,) if term == (J,) else tuple(N if f == J else f for f in term): v for term, v in FULL.items()},
        levels={N: (16, 64), J: ("nll",)}, nested=True,
    ),
    "3 in 10 cells missing": Scenario(truth=PAIRS, keep=_some_missing),
    "1 to 5 seeds by search": Scenario(levels=SMALL, seeds=5, keep=_unequal_seeds),
    "3 in 10 cells missing, three-way truth": Scenario(keep=_some_missing),
    "local draws, 3 seeds": Scenario(draw=10.0, local=13.0, run=9.0),
    "local draws, 1 in 100 runs missing": Scenario(draw=10.0, local=13.0, run=9.0, keep=_one_in(100)),
    "local draws, 1 in 10 runs missing": Scenario(draw=10.0, local=13.0, run=9.0, keep=_one_in(10)),
    "local draws, failing searches": Scenario(draw=10.0, local=13.0, run=9.0, keep=_failing_search),
    "1 seed": Scenario(seeds=1),
    "1 seed, own draws": Scenario(seeds=1, own_draws=True),
    "1200 items, 3 seeds": Scenario(levels=SMALL, items=1200),
    "no calibration effect": Scenario(truth={**CONDITION, **SEARCH}, draw=23.0, run=9.0),
    "no calibration effect, own draws": Scenario(truth={**CONDITION, **SEARCH}, draw=23.0, run=9.0, own_draws=True),
    "no search effect": Scenario(truth={**CONDITION, **CALIBRATION}, draw=23.0, run=9.0),
    "equal effects": Scenario(truth={**CONDITION, (D,): 4.0, (J,): 2.0, (S,): 4.0, (M, S): 2.0}),
    "equal effects, strong draws": Scenario(
        truth={**CONDITION, (D,): 4.0, (J,): 2.0, (S,): 4.0, (M, S): 2.0}, draw=23.0, run=9.0
    ),
}  # fmt: skip


def simulate(scenario: Scenario, rng: np.random.Generator) -> tuple[Panel, np.ndarray | None, dict[str, float]]:
    """Returns a simulated panel, the answers to items where there are any, and the true variances."""
    runs, full = _empty(tuple(scenario.levels.items()), scenario.seeds, scenario.own_draws)
    truth = {term: v for term, v in scenario.truth.items() if {*term} <= {*full.grid.factors}}
    cells = make_cells(full.grid, truth, rng)
    noise = _draw_effect(full, scenario, rng) + np.sqrt(scenario.run) * rng.standard_normal(len(full.cells))
    if scenario.local:
        places = runs.groupby([M, B, D, J, "calib_seed"], observed=True).ngroup().to_numpy()
        noise += np.sqrt(scenario.local) * rng.standard_normal(places.max() + 1)[places]
    panel = replace(full, values=cells[full.cells] + noise)
    if scenario.keep is not None:
        kept = scenario.keep(runs, rng)
        panel = build_panel(runs[kept], pd.Series(panel.values[kept], index=runs.index[kept], name="response"))
    answers = None
    if scenario.items:
        answers, panel = _answer(panel, scenario.items, rng)
    components = np.array([truth.get(term, 0.0) for term in full.grid.terms])
    values = quantities(full, np.append(components, scenario.draw + scenario.run + scenario.local))
    return panel, answers, {name: float(value) for name, value in values.items()}


@cache
def _empty(
    levels: tuple[tuple[str, tuple[object, ...]], ...], seeds: int, own_draws: bool
) -> tuple[pd.DataFrame, Panel]:
    """Returns the runs of a full sweep and their panel, with zeros for responses."""
    runs = make_runs(dict(levels), seeds, own_draws)
    return runs, build_panel(runs, pd.Series(0.0, index=runs.index, name="response"))


def _draw_effect(panel: Panel, scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    if not scenario.nested:
        return np.sqrt(scenario.draw) * rng.standard_normal(panel.n_draws)[panel.draws]
    counts = panel.rows[N].to_numpy(int)
    effects = rng.standard_normal((panel.n_draws, counts.max())).cumsum(axis=1)
    means = effects[panel.draws, counts - 1] / counts
    # Scaled so that the variance is `draw` in the mean over the counts.
    return np.sqrt(scenario.draw / np.mean(1 / np.unique(counts))) * means


def _answer(panel: Panel, n: int, rng: np.random.Generator) -> tuple[np.ndarray, Panel]:
    """Every model answers the same items; models of one cell, whatever their seed, fail on similar ones."""
    ability = np.clip(0.6 + (panel.values - panel.values.mean()) / 100, 0.02, 0.98)
    shared, own = rng.standard_normal(n), rng.standard_normal((len(ability), n))
    alike = rng.standard_normal((panel.grid.n_cells, n))[panel.cells]
    # The latent variable is standard normal for a random item, so the expected accuracy is the ability.
    latent = np.sqrt(0.4) * shared + np.sqrt(0.4) * alike + np.sqrt(0.2) * own
    correct = (latent < stats.norm.ppf(ability)[:, None]).astype(np.uint8)
    return correct, replace(panel, values=100 * correct.mean(axis=1))


def measure(name: str, n: int) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Runs one scenario n times; returns a row per quantity and one of verdicts."""
    scenario, started = SCENARIOS[name], time.perf_counter()
    draws = [_once(scenario, np.random.default_rng([i, *name.encode()])) for i in range(n)]
    estimators = " or ".join(sorted({str(d["estimator"]) for d in draws}))
    rows: list[dict[str, object]] = []
    for quantity in ("V_C", "V_S", "V_CS", "V_seed", "log ratio"):
        values = pd.DataFrame([d[quantity] for d in draws]).astype(float)
        covered = (values["low"] <= values["share_truth"]) & (values["share_truth"] <= values["high"])
        error = values["estimate"] - values["truth"]
        finite = error[np.isfinite(error)]
        rows.append(
            {
                "scenario": name, "estimator": estimators, "quantity": quantity, "simulations": n,
                "truth": values["truth"].mean(), "mean": values["estimate"][np.isfinite(error)].mean(),
                "bias": finite.mean(), "bias_se": finite.std() / np.sqrt(len(finite)),
                "rmse": np.sqrt((finite**2).mean()), "coverage": covered.mean(),
                "coverage_se": np.sqrt(covered.mean() * (1 - covered.mean()) / n),
                "median_width": (values["high"] - values["low"]).median(),
            }
        )  # fmt: skip
    verdicts = pd.Series([d["verdict"] for d in draws])
    p = pd.DataFrame([d["p"] for d in draws])
    rejected = (p < 0.05).astype(float).where(p.notna()).mean()
    return rows, {
        "scenario": name, "simulations": n, **{v: (verdicts == v).mean() for v in
        ("calibration larger", "search larger", "not separable")},
        "calibration_rejected": rejected["calibration"], "search_rejected": rejected["search"],
        "rows_f_dataset_rejected": rejected["rows_dataset"], "rows_f_search_rejected": rejected["rows_search"],
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def _once(scenario: Scenario, rng: np.random.Generator) -> dict[str, object]:
    panel, answers, truth = simulate(scenario, rng)
    point, items = estimate(panel), None
    if answers is not None:
        assert point.pairs is not None
        items = item_noise(panel, point.pairs, {"task": answers}, 100.0)
        point = replace(point, products=point.products - items.products, seed=point.seed - items.seed)
    centre, resamples = resample(panel, point, N_RESAMPLES, rng, items)
    resampled = Resampled(np.append(point.terms, point.seed), centre, resamples, point.degrees)
    values, total = quantities(panel, resampled.stacked), resampled.stacked.sum(axis=1)
    whole = sum(truth.values())
    result: dict[str, object] = {"estimator": point.estimator, "verdict": ratio(panel, resampled).verdict}
    for name in ("V_C", "V_S", "V_CS", "V_seed"):
        share = values[name] / total
        low, high = interval_of_share(share, point.degrees)
        result[name] = {
            "truth": truth[name], "estimate": values[name][0], "share_truth": truth[name] / whole, "low": low,
            "high": high,
        }  # fmt: skip
    log, low, high = interval_of_log_ratio(values["V_C"], values["V_S"], point.degrees)
    with np.errstate(divide="ignore"):
        true_log = float(np.log(truth["V_C"]) - np.log(truth["V_S"]))
    result["log ratio"] = {"truth": true_log, "estimate": log, "share_truth": true_log, "low": low, "high": high}
    result["p"] = {**_permuted(panel, truth, rng), **rows_as_independent(panel)}
    return result


def _permuted(panel: Panel, truth: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """Returns the permutation p values of the effects that are not there; those of others tell nothing here."""
    effects = {"calibration": "V_C", "search": "V_S"}
    return {
        effect: permutation_p(panel, effect, N_PERMUTATIONS, rng) if truth[quantity] == 0 else np.nan
        for effect, quantity in effects.items()
    }


def rows_as_independent(panel: Panel) -> dict[str, float]:
    """Returns what the F tests of a two-way table of a balanced grid say that takes rows for independent."""
    if not panel.is_complete:
        return {"rows_dataset": np.nan, "rows_search": np.nan}
    grid, n = panel.grid, len(panel.values)
    cells = panel.cube().mean(axis=0)
    squares = n * grid.by_term(grid.coefficients(cells) ** 2)
    degrees = np.bincount(grid.term_of)
    fitted = np.array([len(term) <= 2 for term in grid.terms])
    residual = (panel.values**2).sum() - squares[fitted].sum()
    free = n - degrees[fitted].sum()
    p = {}
    for key, factor in (("rows_dataset", D), ("rows_search", S)):
        i = grid.terms.index((factor,))
        p[key] = float(stats.f.sf(squares[i] / degrees[i] / (residual / free), degrees[i], free))
    return p


def main() -> None:
    """Runs what is asked for and not there yet."""
    folder, n = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "estimates.csv", folder / "verdicts.csv"]
    done = set(pd.read_csv(files[1])["scenario"]) if files[1].is_file() else set()
    for name in sys.argv[3:] or SCENARIOS:
        if name in done:
            continue
        rows, verdicts = measure(name, n)
        for file, new in zip(files, (pd.DataFrame(rows), pd.DataFrame([verdicts])), strict=True):
            new.round(5).to_csv(file, mode="a", index=False, header=not file.is_file())
        print(f"{name}: {verdicts['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
