"""p values adjusted for their number."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from deprune.analysis.types import Array

Method = Callable[[Array], Array]

benjamini_hochberg: Method = false_discovery_control


def holm(p: Array) -> Array:
    """Returns Holm's adjusted p values, which hold the chance of a single false finding."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted


def with_adjusted(table: pd.DataFrame, p: str, name: str, method: Method) -> pd.DataFrame:
    """Returns a table with a column of its p values adjusted for their number; what was not tested does not count."""
    if p not in table:  # a table without rows may lack columns too
        return table
    tested = table[p].dropna().astype(float)
    adjusted = method(tested.to_numpy()) if len(tested) else tested
    return table.assign(**{name: pd.Series(adjusted, tested.index)})
