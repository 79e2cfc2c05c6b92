"""What a search is worth: the spread between searches, and quality against cost."""

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.responses import measured, response
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array


def spread_across_searches(results: Results, name: str) -> pd.DataFrame:
    """Returns the spread of a response between the searches of each condition.

    Returns:
        One row per model, budget and calibration configuration: number of `searches` and of `distinct` subsets,
        `mean`, `low`, `high`, `variance` (population, as in the study's Figure 3), `sample_variance`, and
        `variance_without_noise`: the sample variance minus what seeds add to means (missing for one seed).
    """
    frame = measured(results, value=name)
    rows, within = [], design.configurations(frame)
    for key, group in frame.groupby(within, observed=True):
        by_search = group.groupby("search", observed=True)["value"]
        means, noise = by_search.mean(), (by_search.var(ddof=1) / by_search.size()).mean()
        sample_variance = means.var(ddof=1)  # missing for one search
        row = dict(zip(within, key, strict=True)) | {"searches": len(means), "distinct": group["subset"].nunique()}
        row |= {"mean": means.mean(), "low": means.min(), "high": means.max(), "variance": means.var(ddof=0)}
        rows.append(row | {"sample_variance": sample_variance, "variance_without_noise": sample_variance - noise})
    return pd.DataFrame(rows)


def quality_against_cost(results: Results, name: str, cost: str = "n_evals") -> pd.DataFrame:
    """Returns the mean response and cost of each search in each condition, and which searches nobody beats.

    The cost is `n_evals` (losses that the search asked for), `block_calls` (blocks run on one sample) or
    `search_seconds`; what was remembered saves the latter two.

    Returns:
        One row per model, budget, calibration configuration and search: `value` with its standard error over
        seeds, `cost`, and `on_front`: no other search there is as cheap and as good and better in one of the two.
    """
    frame = measured(results, value=name).dropna(subset=[cost])
    within = design.configurations(frame)
    by_search = frame.groupby([*within, design.SEARCH], observed=True)
    table = by_search.agg(value=("value", "mean"), stderr=("value", "sem"), cost=(cost, "mean"), runs=("value", "size"))
    table = table.reset_index()
    sign = -1.0 if response(results, name).higher_is_better else 1.0
    table["on_front"] = False
    for _, group in table.groupby(within, observed=True):
        table.loc[group.index, "on_front"] = on_front(group["cost"].to_numpy(float), sign * group["value"].to_numpy())
    return table.assign(response=name, cost_unit=cost)


def on_front(first: Array, second: Array) -> Array:
    """Returns which points no other one dominates, both coordinates being better when lower."""
    no_worse = (first <= first[:, None]) & (second <= second[:, None])
    better = (first < first[:, None]) | (second < second[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))
