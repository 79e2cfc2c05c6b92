"""What searches gain over one-shot on the same draw, as a share of what one-shot lost to pruning."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis.read.responses import response
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array

SIMPLE = ("dense", "random", "last", "angular", "shortgpt", "oneshot")
"""Searches that look at no combination of blocks; all others count as complex."""

CELL = ["model", "budget", "calib_config", "calib_seed"]


def gains_over_oneshot(results: Results, name: str) -> pd.DataFrame:
    """Compares every complex search with one-shot in the same model, budget, configuration and draw.

    Args:
        results: The runs.
        name: A response; accuracies are better when higher, others when lower.

    Returns:
        One row per search: `gain` [unit of the response; positive is better], `oneshot_loss` (what one-shot
        lost against the dense model), `recovered` = gain / oneshot_loss with `low` and `high`, and the number of
        `cells` and `draws`. The intervals leave out whole draws (jackknife) and hold for all m searches
        together: each is of level 1 − 0.05/m. Only searches that share a cell with one-shot have a row.
    """
    wide, lost = _paired(results, name)
    others = [s for s in wide.columns if s.split(" ")[0] not in SIMPLE and (wide[s] - wide["oneshot"]).notna().any()]
    rows = []
    for search in others:
        gained = (wide[search] - wide["oneshot"]).dropna()
        denominator = lost[gained.index].to_numpy(float)
        draws = pd.factorize(gained.index.get_level_values("draw"))[0]
        value, low, high = _ratio(gained.to_numpy(float), denominator, draws, 0.05 / len(others))
        means = {"gain": float(gained.mean()), "oneshot_loss": float(denominator.mean())}
        counts = {"cells": len(gained), "draws": len(np.unique(draws))}
        rows.append({"search": search, **means, "recovered": value, "low": low, "high": high, **counts})
    return pd.DataFrame(rows)


def dense_values(results: Results, name: str) -> pd.Series:
    """Returns the response of the dense model for every run, in the unit of the response."""
    if name == "calibration loss increase":
        return pd.Series(0.0, index=results.runs.index)
    tasks = response(results, name).tasks
    metric, factor = ("acc", 100.0) if name.startswith("accuracy") else ("log_perplexity", 1.0)
    scores = results.scores[(results.scores["metric"] == metric) & results.scores["task"].isin(tasks)]
    means = factor * scores.groupby(scores["run_id"].astype(str))["dense_value"].mean()
    return means.reindex(results.runs.index)


def _paired(results: Results, name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Returns values by cell and search, higher being better, and one-shot's loss by cell."""
    sign = 1.0 if name.startswith("accuracy") else -1.0
    runs = results.runs
    frame = runs[[*CELL, "search"]].assign(
        value=sign * response(results, name).values,
        dense=sign * dense_values(results, name),
        draw=runs["calib_sample_id"].fillna(runs["draw_id"]),
    )
    frame = frame[~runs["is_dense"] & frame["value"].notna()]
    cells = frame.groupby([*CELL, "draw", "search"], observed=True, dropna=False)
    wide = cells["value"].mean().unstack()
    wide.columns = wide.columns.astype(str)
    if "oneshot" not in wide:
        return pd.DataFrame(), pd.Series(dtype=float)
    dense = frame.groupby([*CELL, "draw"], observed=True, dropna=False)["dense"].mean()
    return wide, dense.reindex(wide.index) - wide["oneshot"]


def _ratio(above: Array, below: Array, draws: Array, alpha: float) -> tuple[float, float, float]:
    """Returns a ratio of sums, with an interval of level 1 − alpha from leaving out whole draws."""
    if not below.sum() > 0:
        return math.nan, math.nan, math.nan
    value = float(above.sum() / below.sum())
    n = int(draws.max()) + 1
    sums = np.stack([np.bincount(draws, weights, n) for weights in (above, below)])
    numerators, denominators = np.array([[above.sum()], [below.sum()]]) - sums
    if n < 3 or not (denominators > 0).all():
        return value, math.nan, math.nan
    left = numerators / denominators
    width = stats.t.ppf(1 - alpha / 2, n - 1) * math.sqrt((n - 1) / n * float(((left - left.mean()) ** 2).sum()))
    return value, value - width, value + width
