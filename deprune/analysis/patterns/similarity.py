"""Tables behind the figures of patterns: how often blocks go, and how alike configurations are."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.patterns.consensus import chance_jaccard
from deprune.analysis.patterns.masks import masks_of, with_patterns
from deprune.analysis.read.results import Results

MAX_GROUPS = 6  # more calibration configurations than this are shown by objective and corpus, the rest averaged


def calibration_groups(runs: pd.DataFrame) -> pd.Series:
    """Returns the calibration label of each run in figures: what differs between configurations.

    Where there are many configurations, only those of other kinds, not of other sizes, are told apart.
    """
    many = runs[design.CONFIGURATION].nunique() > MAX_GROUPS
    parts = [part for part in design.label_parts(runs) if not (many and part.tag)]
    varying = [part for part in parts if runs[part.name].nunique() > 1] or [p for p in parts if not p.tag][-1:]
    labels = [(f"{part.tag} = " if part.tag else "") + runs[part.name].astype(str) for part in varying]
    return pd.concat(labels, axis=1).agg(" ".join, axis=1)


def removal_frequency(results: Results, model: str) -> pd.DataFrame:
    """Returns how often each block was removed.

    Returns:
        One row per condition (such as `budget`), `calibration`, `search` and `block`: `removed`, the share of runs
        without that block, in which seeds are averaged.
    """
    runs = with_patterns(results.where({design.MODEL: model}))
    within = [name for name in design.conditions(runs) if name != design.MODEL]
    keys = [*(runs[name] for name in within), calibration_groups(runs).rename("calibration"), runs[design.SEARCH]]
    means = masks_of(runs).groupby(keys, observed=True, sort=True).mean()
    long = means.reset_index().melt([*within, "calibration", "search"], var_name="block", value_name="removed")
    return long.astype({"block": int})


def similarity(results: Results, at: Mapping[str, object]) -> pd.DataFrame:
    """Returns the mean chance-corrected Jaccard similarity, at a condition, of the patterns of every two kinds of run.

    A run is never compared with itself, so that the diagonal is what another seed changes: the ceiling.

    Returns:
        A square table with `calibration` and `search` on both axes; 1 is identical, 0 is chance.
    """
    runs = with_patterns(results.where(at))
    masks = masks_of(runs).to_numpy()
    shared, size = masks @ masks.T, int(masks[0].sum())
    floor = chance_jaccard(masks.shape[1], size)
    corrected = (shared / np.maximum(2 * size - shared, 1) - floor) / (1 - floor)
    np.fill_diagonal(corrected, np.nan)
    columns = [calibration_groups(runs), runs[design.SEARCH].astype(str)]
    labels = pd.MultiIndex.from_arrays(columns, names=["calibration", "search"])
    order = [*runs[design.SEARCH].cat.categories.astype(str)].index
    in_order = sorted(labels.unique(), key=lambda kind: (kind[0], order(kind[1])))
    kinds = pd.MultiIndex.from_tuples(in_order, names=labels.names)
    members = (labels.to_numpy()[:, None] == kinds.to_numpy()).astype(float)
    sums, counts = (members.T @ part @ members for part in (np.nan_to_num(corrected), np.isfinite(corrected)))
    return pd.DataFrame(sums / np.where(counts > 0, counts, np.nan), index=kinds, columns=kinds)
