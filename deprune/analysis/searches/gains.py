"""What searches gain over one-shot on the same draw, as a share of what one-shot lost to pruning."""

import math

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.responses import response
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array
from deprune.analysis.variance.intervals import jackknife
from deprune.core.kinds import Kind

BASELINE = "oneshot"  # the search that all others are compared with


def gains_over_oneshot(results: Results, name: str) -> pd.DataFrame:
    """Compares every complex search with one-shot by a response, in the same condition, configuration and draw.

    Returns:
        One row per search: `gain` [unit of the response; positive is better], `oneshot_loss` (what one-shot
        lost against the dense model), `recovered` = gain / oneshot_loss with `low` and `high`, and the number of
        `cells` and `draws`. The intervals leave out whole draws (jackknife) and hold for all m searches
        together: each is of level 1 − 0.05/m. Only searches that share a cell with one-shot have a row.
    """
    wide, lost = _paired(results, name)
    is_simple = results.runs["search_kind"].isin([Kind.CONTROL, Kind.SIMPLE])
    simple = {*results.runs.loc[is_simple, design.SEARCH].astype(str)}
    others = [s for s in wide.columns if s not in simple and (wide[s] - wide[BASELINE]).notna().any()]
    rows = []
    for search in others:
        gained = (wide[search] - wide[BASELINE]).dropna()
        denominator = lost[gained.index].to_numpy(float)
        draws = pd.factorize(gained.index.get_level_values("draw"))[0]
        value, low, high = _ratio(gained.to_numpy(float), denominator, draws, 1 - 0.05 / len(others))
        means = {"gain": float(gained.mean()), "oneshot_loss": float(denominator.mean())}
        counts = {"cells": len(gained), "draws": len(np.unique(draws))}
        rows.append({"search": search, **means, "recovered": value, "low": low, "high": high, **counts})
    return pd.DataFrame(rows)


def _paired(results: Results, name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Returns values by cell and search, higher being better, and one-shot's loss by cell."""
    chosen, runs = response(results, name), results.runs
    sign = 1.0 if chosen.higher_is_better else -1.0
    frame = runs.assign(value=sign * chosen.values, dense=sign * chosen.dense, draw=design.draws_of(runs))
    frame = frame[~runs["is_dense"] & frame["value"].notna()]
    cell = [*design.configurations(frame), design.SEED, "draw"]
    wide = frame.groupby([*cell, design.SEARCH], observed=True, dropna=False)["value"].mean().unstack()
    wide.columns = wide.columns.astype(str)
    if BASELINE not in wide:
        return pd.DataFrame(), pd.Series(dtype=float)
    dense = frame.groupby(cell, observed=True, dropna=False)["dense"].mean()
    return wide, dense.reindex(wide.index) - wide[BASELINE]


def _ratio(above: Array, below: Array, draws: Array, level: float) -> tuple[float, float, float]:
    """Returns a ratio of sums, with an interval from leaving out whole draws."""
    if not below.sum() > 0:
        return math.nan, math.nan, math.nan
    value = float(above.sum() / below.sum())
    numerators, denominators = (part.sum() - np.bincount(draws, part) for part in (above, below))
    if not (denominators > 0).all():
        return value, math.nan, math.nan
    return jackknife(value, numerators / denominators, level)
