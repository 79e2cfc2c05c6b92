"""How V_C splits among the calibration factors, also where these are aliased."""

import itertools
import math

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.types import Array
from deprune.analysis.variance.estimators import Estimate
from deprune.analysis.variance.panel import SEARCH, Panel


def calibration_parts(panel: Panel, point: Estimate) -> pd.DataFrame:
    """Splits V_C among the calibration factors by Shapley values over the configurations that exist.

    The worth of a set of factors is the variance between configurations that its levels explain,
    within condition and with the search averaged out; where factors are aliased this splits a whole
    that the design cannot take apart.

    Returns:
        `factor`, `variance`, its `share` of V_C, and whether it is `aliased`.
    """
    columns = ["factor", "variance", "share", "aliased"]
    if not panel.calibration:
        return pd.DataFrame(columns=columns)
    calibration = design.factors_of(panel.rows, design.Role.CALIBRATION)
    parts = [f for f in calibration if panel.rows[f].nunique(dropna=False) > 1]
    labels = _configurations(panel)[parts]
    subsets = (chosen for k in range(len(parts) + 1) for chosen in itertools.combinations(parts, k))
    worth = {chosen: _worth(panel, point, labels, chosen) for chosen in subsets}
    whole = worth[tuple(parts)]
    rows = []
    for part in parts:
        others = [p for p in parts if p != part]
        value = sum(
            (worth[tuple(p for p in parts if p in {*chosen, part})] - worth[chosen])
            / (len(parts) * math.comb(len(others), k))
            for k in range(len(parts))
            for chosen in itertools.combinations(others, k)
        )
        rows.append((part, value, value / whole if whole > 0 else math.nan, design.CONFIGURATION in panel.calibration))
    return pd.DataFrame(rows, columns=columns)


def _configurations(panel: Panel) -> pd.DataFrame:
    """Returns the calibration factors of every existing configuration, in the grid's order."""
    sizes = [n if f in panel.calibration else 1 for f, n in zip(panel.grid.factors, panel.grid.shape, strict=True)]
    index = np.unravel_index(panel.cells, panel.grid.shape)
    kept = [i if n > 1 else np.zeros_like(i) for i, n in zip(index, sizes, strict=True)]
    frame = panel.rows[list(design.factors_of(panel.rows, design.Role.CALIBRATION))]
    return frame.assign(code=np.ravel_multi_index(kept, sizes)).drop_duplicates("code").sort_values("code")


def _worth(panel: Panel, point: Estimate, labels: pd.DataFrame, chosen: tuple[str, ...]) -> float:
    """Returns the variance between the levels of `chosen`, a quadratic form of the coefficients."""
    n = len(labels)
    groups = labels.groupby(list(chosen), observed=True, dropna=False).ngroup().to_numpy() if chosen else np.zeros(n)
    same = (groups[:, None] == groups).astype(float)
    averaging = same / same.sum(axis=1, keepdims=True) - 1 / n
    contrasts: Array = np.ones((1, 1))
    form: Array = np.ones((1, 1))
    for factor, matrix in zip(panel.grid.factors, panel.grid.contrasts, strict=True):
        if factor in panel.calibration:
            contrasts = np.kron(contrasts, matrix)
    averaging = contrasts @ averaging @ contrasts.T
    placed = False
    for factor, size in zip(panel.grid.factors, panel.grid.shape, strict=True):
        if factor in panel.calibration:
            form, placed = (form if placed else np.kron(form, averaging)), True
        else:
            form = np.kron(form, np.diag([1.0] + [0.0] * (size - 1)) if factor == SEARCH else np.eye(size))
    return float((form * point.products).sum())
