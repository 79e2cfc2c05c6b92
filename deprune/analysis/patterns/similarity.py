"""Tables behind the figures of patterns: how often blocks go, and how alike configurations are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deprune.analysis.patterns.consensus import chance_jaccard
from deprune.analysis.patterns.masks import masks_of
from deprune.analysis.read.results import Results

MAX_GROUPS = 6
"""More calibration configurations than this are shown by objective and corpus, the rest averaged."""


def calibration_groups(runs: pd.DataFrame) -> pd.Series:
    """Returns the calibration label of each run in figures: what differs between configurations.

    Where there are many configurations, only objective and corpus are told apart.
    """
    many = runs["calib_config"].nunique() > MAX_GROUPS
    parts = {"objective": "", "calib_dataset": ""} | (
        {} if many else {"calib_samples": "n = ", "calib_seq_len": "L = "}
    )
    varying = [name for name in parts if runs[name].nunique() > 1] or ["calib_dataset"]
    labels = [parts[name] + runs[name].astype(str) for name in varying]
    return pd.concat(labels, axis=1).agg(" ".join, axis=1)


def removal_frequency(results: Results, model: str) -> pd.DataFrame:
    """Returns how often each block was removed.

    Returns:
        One row per `budget`, `calibration`, `search` and `block`: `removed`, the share of runs without that
        block, in which seeds are averaged.
    """
    runs = _with_subsets(results, model)
    masks = masks_of(runs)
    keys = [runs["budget"], calibration_groups(runs).rename("calibration"), runs["search"]]
    means = masks.groupby(keys, observed=True, sort=True).mean()
    long = means.reset_index().melt(["budget", "calibration", "search"], var_name="block", value_name="removed")
    return long.astype({"block": int})


def similarity(results: Results, model: str, budget: int) -> pd.DataFrame:
    """Returns the mean chance-corrected Jaccard similarity of the patterns of every two (calibration, search).

    A run is never compared with itself, so that the diagonal is what another seed changes: the ceiling.

    Returns:
        A square table with `calibration` and `search` on both axes; 1 is identical, 0 is chance.
    """
    runs = _with_subsets(results, model)
    runs = runs[runs["budget"] == budget]
    masks = masks_of(runs).to_numpy()
    n_blocks, size = masks.shape[1], int(masks[0].sum())
    shared = masks @ masks.T
    floor = chance_jaccard(n_blocks, size)
    corrected = (shared / np.maximum(2 * size - shared, 1) - floor) / (1 - floor)
    np.fill_diagonal(corrected, np.nan)
    labels = pd.MultiIndex.from_arrays(
        [calibration_groups(runs), runs["search"].astype(str)], names=["calibration", "search"]
    )
    kinds = labels.unique()
    order = {s: i for i, s in enumerate(runs["search"].cat.categories.astype(str))}
    kinds = pd.MultiIndex.from_tuples(sorted(kinds, key=lambda kind: (kind[0], order[kind[1]])), names=labels.names)
    members = (labels.to_numpy()[:, None] == kinds.to_numpy()).astype(float)
    known = np.isfinite(corrected).astype(float)
    sums, counts = members.T @ np.nan_to_num(corrected) @ members, members.T @ known @ members
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return pd.DataFrame(means, index=kinds, columns=kinds)


def _with_subsets(results: Results, model: str) -> pd.DataFrame:
    runs = results.runs
    return runs[~runs["is_dense"] & runs["subset"].notna() & (runs["model"] == model)]
