"""How much of a response's variance belongs to the calibration configuration, and how much to the search.

V_C is the variance between calibration configurations, the search averaged out; V_S the same for searches;
V_CS what only both together explain, which belongs to neither side; V_seed what another calibration draw
changes. All are means within (model, budget), and all levels that were run count the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.responses import LOGIT, Measured, response, without_diverged
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array, Generator
from deprune.analysis.variance import headline
from deprune.analysis.variance.estimators import Estimate, estimate
from deprune.analysis.variance.headline import NOT_IDENTIFIED, Ratio, Resampled, calibration_parts, quantities
from deprune.analysis.variance.intervals import MIN_DRAWS, resample
from deprune.analysis.variance.item_noise import ItemNoise, item_noise, load_items
from deprune.analysis.variance.panel import SEARCH, Panel, alias_table, build_panel
from deprune.analysis.variance.permute import permutation_tests
from deprune.core.errors import AnalysisError, DepruneError

N_PERMUTATIONS = 999
ITEMS_SUBTRACTED = ", noise of items subtracted"
ROUNDING = 1e-12  # relative differences that are none: means of equal numbers of items differ by as much


@dataclass(frozen=True, kw_only=True)
class Decomposed:
    """A variance by factor. Every table of numbers has a column `estimator`.

    Attributes:
        headline: `V_C`, `V_S`, `V_CS`, `V_seed`, `V_condition` (between models and budgets): `variance`, `sd`
            in the response's unit, `share` of the total and `share_within` condition, with their intervals.
        ratio: log(V_C / V_S) with its interval and the verdict.
        tests: Permutation p values of no effect, on complete grids.
        components: One row per term: `df`, `sigma2`, `sd`, `share` with its interval.
        factors: One row per factor: `first_order`, `total` and `shapley` shares, `switch_rms`.
        panel: The runs and their grid.
        notes: Sentences that belong under every table.
    """

    headline: pd.DataFrame
    ratio: Ratio
    tests: pd.DataFrame
    components: pd.DataFrame
    factors: pd.DataFrame
    panel: Panel
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Decomposition(Decomposed):
    """The variance of one response by factor.

    Attributes:
        response: What is decomposed.
        calibration_parts: Shapley split of V_C among the calibration factors; where `aliased`, of a whole that the
            design cannot take apart.
        leave_one_out: The headline shares and the log ratio without each level of each factor; items are taken as
            they are.
        estimator: The estimator in words; says whether the noise of items is subtracted.
        estimate: The point estimate behind the tables.
    """

    response: Measured
    calibration_parts: pd.DataFrame
    leave_one_out: pd.DataFrame
    estimator: str
    estimate: Estimate


def decompose(
    results: Results, name: str, *, factors: Sequence[str] | None = None, over_items: bool = False,
    n_resamples: int = 1000, seed: int = 0,
) -> Decomposition:  # fmt: skip
    """Decomposes the variance of a response over the swept grid.

    Args:
        results: The runs; dense ones are only the reference.
        name: The response, one of `response_names(results)`.
        factors: The factors of the grid; by default all that vary (see `build_panel`).
        over_items: Make the statement about the tasks rather than about these very items: the noise of items is
            subtracted, and is in the intervals. Needs a mean over items and the answers of every run.
        n_resamples: Number of bootstrap resamples; fewer than 500 cost coverage.
        seed: Of resampling and permuting.

    Raises:
        AnalysisError: The response, the factors or the cells do not allow it; the message names the terms.
        DataError: The answers to single items are not there.
    """
    rng, chosen = np.random.default_rng(seed), response(results, name)
    panel = build_panel(results.runs, chosen.values.rename(name), factors)
    if np.ptp(panel.values) <= ROUNDING * np.abs(panel.values).max():
        raise AnalysisError(f"The {name} is the same in all {len(panel.rows)} runs: no variance to explain.")
    point = estimate(panel)
    items = _item_noise(results, panel, chosen, point) if over_items else None
    if items is not None:
        point = replace(point, products=point.products - items.products, seed=point.seed - items.seed)
    resampled = resample(panel, point, n_resamples, rng, items)
    estimator = point.estimator + (ITEMS_SUBTRACTED if items is not None else "")
    return Decomposition(
        response=chosen,
        **tables(panel, point, resampled, rng, {"unit": chosen.unit, "estimator": estimator}),
        calibration_parts=calibration_parts(panel, point).assign(estimator=estimator),
        leave_one_out=leave_one_out(results.runs, chosen, panel),
        estimator=estimator,
        estimate=point,
        notes=(*panel.notes, *_notes(panel, chosen, point)),
    )


def tables(
    panel: Panel, point: Estimate, resampled: tuple[Array, Array], rng: Generator, label: dict[str, str]
) -> dict[str, Any]:
    """Returns what every decomposition has: `headline`, `ratio`, `tests`, `components`, `factors` and the `panel`."""
    values = Resampled(np.append(point.terms, point.seed), *resampled, point.degrees)
    return {
        "headline": headline.headline_table(panel, values).assign(**label),
        "ratio": headline.ratio(panel, values),
        "tests": permutation_tests(panel, N_PERMUTATIONS, rng),
        "components": headline.component_table(panel.grid, values).assign(**label),
        "factors": headline.factor_table(panel, values.point).assign(**label),
        "panel": panel,
    }


def _item_noise(results: Results, panel: Panel, chosen: Measured, point: Estimate) -> ItemNoise:
    if not chosen.is_mean_of_items:
        raise AnalysisError(f"The noise of items can be taken from means over items only, not from {chosen.name}.")
    if point.pairs is None:
        raise AnalysisError(
            f"The noise of items cannot be taken from the estimator {point.estimator}; it needs two calibration seeds "
            "or more in nearly every cell."
        )
    answers = load_items(results, panel, chosen)
    if single := [task for task, correct in answers.items() if correct.shape[1] < 2]:
        raise AnalysisError(f"{', '.join(single)} has one item, whose noise cannot be known; score the runs on more.")
    return item_noise(panel, point.pairs, answers, chosen.scale)


def leave_one_out(runs: pd.DataFrame, chosen: Measured, panel: Panel) -> pd.DataFrame:
    """Recomputes the headline without each level of each factor.

    Shares belong to the levels that were run; the range over these rows says how much to one of them.

    Returns:
        `factor`, `left_out` level, the `estimator`, a share per headline quantity and the `log_ratio`. Levels
        without which nothing can be estimated are passed over.
    """
    rows = []
    for factor in (f for f in design.factors_of(panel.rows) if panel.rows[f].nunique() > 1):
        for level in panel.rows[factor].unique():
            rest = panel.rows.index[(panel.rows[factor] != level).fillna(True).to_numpy(bool)]
            try:
                part = build_panel(runs.loc[rest], chosen.values.rename(chosen.name))
                point = estimate(part)
            except AnalysisError:
                continue
            values = quantities(part, np.append(point.terms, point.seed))
            total = float(np.sum(list(values.values())))
            row: dict[str, object] = {"factor": factor, "left_out": str(level), "estimator": point.estimator}
            row |= {f"{name}_share": float(value) / total for name, value in values.items() if total > 0}
            above, below = (max(float(values.get(name, math.nan)), 0.0) for name in ("V_C", "V_S"))
            rows.append(row | {"log_ratio": math.log(above / below) if above > 0 and below > 0 else math.nan})
    return pd.DataFrame(rows)


def ranges_without_one(table: pd.DataFrame) -> pd.DataFrame:
    """Returns between what the headline moves when any one level of a factor is left out, from `leave_one_out`.

    Returns:
        `factor`, `quantity`, number of `levels`, `low`, `high`, and for the search, whose levels could be others,
        the jackknife standard error `jackknife_se`.
    """
    rows = []
    for factor, group in table.groupby("factor", sort=False) if len(table) else ():
        for quantity in [c for c in table.columns if c.endswith("_share") or c == "log_ratio"]:
            values = group[quantity].dropna().to_numpy(float)
            if n := len(values):
                error = math.sqrt((n - 1) * values.var()) if factor == SEARCH and n > 1 else math.nan
                rows.append((factor, quantity, n, values.min(), values.max(), error))
    return pd.DataFrame(rows, columns=["factor", "quantity", "levels", "low", "high", "jackknife_se"])


def _notes(panel: Panel, chosen: Measured, point: Estimate) -> list[str]:
    notes = [note for note in (panel.holes, point.bias and f"{point.estimator}: {point.bias}.") if note]
    missing = ["calibration configuration"] * (not panel.calibration) + ["search"] * (SEARCH not in panel.grid.factors)
    notes += [f"There is one {what} only, so calibration and search are {NOT_IDENTIFIED}." for what in missing]
    others = [panel.rows[f].astype(str).to_numpy() for f in design.factors_of(panel.rows) if f != SEARCH]
    if pd.Series(panel.draws).groupby([*others, panel.seeds]).nunique().max() > 1:
        notes.append("Searches of the same configuration and seed do not share a draw, so their noise is compared too.")
    if panel.n_draws < MIN_DRAWS:
        few = f"There are {panel.n_draws} independent calibration draws only"
        notes.append(f"{few}: intervals are descriptive and cover less than they say.")
    if n_diverged := int(chosen.diverged[panel.rows.index].sum()):
        notes.append(f"{n_diverged} runs diverged and count with the capped perplexity.")
    pairs = alias_table(panel.rows).itertuples(index=False)
    return [*notes, *(f"{a} and {b} occur in {n} of {of} combinations." for a, b, n, of in pairs)]


def sensitivity(results: Results, reported: Decomposition, n_resamples: int = 1000) -> pd.DataFrame:
    """Decomposes the response of a decomposition of these runs again in other ways.

    Shares are also taken on the logit scale, for percentage points are compressed near the floor and the ceiling,
    and on these very items; perplexities without the diverged runs.

    Returns:
        `reading`, the shares within condition, `log_ratio` with `low` and `high`, the `verdict`, the `estimator`, and a
        `remark` where a reading cannot be had. The first row is what was reported; empty where there is no other.
    """
    chosen, name = reported.response, reported.response.name
    readings: list[tuple[str, Results, str]] = []
    if chosen.is_share and chosen.task is None:
        readings.append((f"logit of {name}, chance level not taken off", results, LOGIT + name))
    if reported.estimator.endswith(ITEMS_SUBTRACTED):
        readings.append(("on these very items", results, name))
    if chosen.diverged[reported.panel.rows.index].any():
        readings.append(("without diverged runs", without_diverged(results, name), name))
    rows = [_row("as reported", reported)]
    for reading, runs, again in readings:
        try:
            rows.append(_row(reading, decompose(runs, again, n_resamples=n_resamples)))
        except DepruneError as error:
            rows.append({"reading": reading, "remark": str(error)})
    return pd.DataFrame(rows) if len(rows) > 1 else pd.DataFrame()


def _row(reading: str, found: Decomposition) -> dict[str, object]:
    shares = found.headline.set_index("quantity")["share_within"].drop("V_condition").add_suffix("_share_within")
    ratio = found.ratio
    judged = {"log_ratio": ratio.log, "low": ratio.low, "high": ratio.high, "verdict": ratio.verdict}
    return {"reading": reading, **shares, **judged, "estimator": found.estimator, "remark": math.nan}
