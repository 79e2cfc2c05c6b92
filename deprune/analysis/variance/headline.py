"""The tables of a decomposition: headline, terms, factors, and the ratio with its verdict."""

import itertools
import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.types import Array
from deprune.analysis.variance.estimators import Estimate
from deprune.analysis.variance.factor_grid import Grid, name_of_term
from deprune.analysis.variance.intervals import interval_of_log_ratio, interval_of_share, p_of_log_ratio
from deprune.analysis.variance.panel import SEARCH, Panel, combinations_of

VERDICTS = ("calibration larger", "search larger", "not separable")
NOT_IDENTIFIED = "not identified"
NO_INTERVAL = "no interval"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The ratio V_C / V_S.

    Attributes:
        log: Its natural logarithm.
        low: Lower end of the 95 % interval of that.
        high: Upper end.
        p: The smallest level at which the interval excludes zero.
        verdict: One of `VERDICTS`; `NOT_IDENTIFIED` where calibration or search has a single level;
            `NO_INTERVAL` where there is none to judge by.
    """

    log: float
    low: float
    high: float
    p: float
    verdict: str


@dataclass(frozen=True)
class Resampled:
    """Components followed by the seed variance: of the estimate, the bootstrap's centre, and its resamples.

    The first two are `(n_terms + 1,)`, the last `(n, n_terms + 1)`; the draws' degrees of freedom widen the intervals.
    """

    point: Array
    centre: Array
    resamples: Array
    degrees: int

    @property
    def stacked(self) -> Array:
        """All of them, point and centre first, `(n + 2, n_terms + 1)`."""
        return np.vstack([self.point, self.centre, self.resamples])


def quantities(panel: Panel, estimates: Array) -> dict[str, Array]:
    """Returns the headline variances of components followed by the seed variance, `(..., n_terms + 1)`, as they add up.

    Returns:
        `V_C`, `V_S`, `V_CS`, `V_seed` and `V_condition`, each `(...)`, without those whose factors do not vary.
    """
    grid, calibration = panel.grid, panel.calibration
    groups = {
        "V_C": grid.touching(calibration, without=[SEARCH]),
        "V_S": grid.touching([SEARCH], without=calibration),
        "V_CS": grid.touching(calibration) & grid.touching([SEARCH]),
    }
    others = ~grid.touching([*calibration, SEARCH])
    terms = estimates[..., :-1]
    values = {name: terms[..., chosen].sum(axis=-1) for name, chosen in groups.items() if chosen.any()}
    return {**values, "V_seed": estimates[..., -1], "V_condition": terms[..., others].sum(axis=-1)}


def headline_table(panel: Panel, resampled: Resampled) -> pd.DataFrame:
    """Returns the headline variances with their shares of the total and of what is within condition."""
    values = quantities(panel, resampled.stacked)
    total = resampled.stacked.sum(axis=-1)
    within = total - values["V_condition"]
    rows = []
    for name, variance in values.items():
        row = {"quantity": name, "variance": float(variance[0]), "sd": _sd(variance[0])}
        row |= _share("share", _divide(variance, total), resampled.degrees)
        if name != "V_condition":
            row |= _share("share_within", _divide(variance, within), resampled.degrees)
        rows.append(row)
    return pd.DataFrame(rows)


def component_table(grid: Grid, resampled: Resampled) -> pd.DataFrame:
    """Returns the component of every term with its share of the total, and the seed's in the last row."""
    names, orders = [*map(name_of_term, grid.terms), "seed"], [*map(len, grid.terms), 0]
    shares = _divide(resampled.stacked, resampled.stacked.sum(axis=-1, keepdims=True))
    rows = []
    for i, df in enumerate([*np.bincount(grid.term_of).tolist(), 0]):
        row = {"term": names[i], "order": orders[i], "df": df}
        row |= {"sigma2": float(resampled.point[i]), "sd": _sd(resampled.point[i])}
        rows.append(row | _share("share", shares[:, i], resampled.degrees))
    return pd.DataFrame(rows[1:])  # the mean is no component


def _share(name: str, stacked: Array, degrees: int) -> dict[str, float]:
    low, high = interval_of_share(stacked, degrees)
    return {name: float(stacked[0]), f"{name}_low": low, f"{name}_high": high}


def _divide(part: Array, whole: Array) -> Array:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.asarray(np.divide(part, whole, out=np.zeros(shape), where=whole > 0))


def _sd(variance: float) -> float:
    return math.sqrt(max(float(variance), 0.0))


def ratio(panel: Panel, resampled: Resampled) -> Ratio:
    """Returns log(V_C / V_S) with its interval and what that interval says."""
    values = quantities(panel, resampled.stacked)
    if "V_C" not in values or "V_S" not in values:
        return Ratio(log=math.nan, low=math.nan, high=math.nan, p=math.nan, verdict=NOT_IDENTIFIED)
    log, low, high = interval_of_log_ratio(values["V_C"], values["V_S"], resampled.degrees)
    if math.isnan(low):
        return Ratio(log=log, low=low, high=high, p=math.nan, verdict=NO_INTERVAL)
    verdict = VERDICTS[0] if low > 0 else VERDICTS[1] if high < 0 else VERDICTS[2]
    p = p_of_log_ratio(values["V_C"], values["V_S"], resampled.degrees)
    return Ratio(log=log, low=low, high=high, p=p, verdict=verdict)


def factor_table(panel: Panel, point: Array) -> pd.DataFrame:
    """Returns one row per factor, and one for calibration as a whole, from components followed by the seed variance.

    Returns:
        `first_order` and `total` shares, the `shapley` share (a term counts in equal parts for its factors), and
        `switch_rms` in the response's unit: the root-mean-square change when the factor alone moves to another level.
    """
    grid, terms, total = panel.grid, point[:-1], float(point.sum())
    groups: dict[str, tuple[str, ...]] = {f: (f,) for f in grid.factors}
    if len(panel.calibration) > 1:
        groups["calibration"] = panel.calibration
    sizes = dict(zip(grid.factors, grid.shape, strict=True))
    order = np.array([max(len(term), 1) for term in grid.terms])
    rows = []
    for name, members in groups.items():
        n_levels = math.prod(sizes[f] for f in members)
        touching = grid.touching(members)
        alone = touching & ~grid.touching(set(grid.factors) - set(members))
        weights = np.array([len({*term} & {*members}) for term in grid.terms]) / order
        changed = max(float(terms[touching].sum()), 0.0)
        parts = {"first_order": terms[alone], "total": terms[touching], "shapley": terms * weights}
        shares = {share: float(part.sum()) / total if total > 0 else 0.0 for share, part in parts.items()}
        switch = math.sqrt(2 * n_levels / (n_levels - 1) * changed)
        rows.append({"factor": name, "levels": n_levels, **shares, "switch_rms": switch})
    return pd.DataFrame(rows)


def calibration_parts(panel: Panel, point: Estimate) -> pd.DataFrame:
    """Splits V_C among the calibration factors by Shapley values over the configurations that exist.

    The worth of a set of factors is the variance between configurations that its levels explain, within condition and
    with the search averaged out; where factors are aliased this splits a whole that the design cannot take apart.

    Returns:
        `factor`, `variance`, its `share` of V_C, and whether it is `aliased`.
    """
    parts = [f for f in panel.calibration_factors if panel.rows[f].nunique(dropna=False) > 1]
    subsets = (frozenset(c) for k in range(len(parts) + 1) for c in itertools.combinations(parts, k))
    worth = {chosen: _worth(panel, point, chosen) for chosen in subsets}
    values = dict.fromkeys(parts, 0.0)
    for order in itertools.permutations(parts):
        for i, part in enumerate(order):
            added = worth[frozenset(order[: i + 1])] - worth[frozenset(order[:i])]
            values[part] += added / math.factorial(len(parts))
    whole, aliased = worth[frozenset(parts)], design.CONFIGURATION in panel.calibration
    rows = [(part, value, value / whole if whole > 0 else math.nan, aliased) for part, value in values.items()]
    return pd.DataFrame(rows, columns=["factor", "variance", "share", "aliased"])


def _worth(panel: Panel, point: Estimate, chosen: frozenset[str]) -> float:
    """Returns the variance between the levels of some calibration factors, a quadratic form of the coefficients."""
    sizes = dict(zip(panel.grid.factors, panel.grid.shape, strict=True))
    n, n_searches = math.prod(sizes[f] for f in panel.calibration), sizes.get(SEARCH, 1)
    # In a grid the factors of the condition come first and the search last.
    _, firsts = np.unique(panel.cells // n_searches % n, return_index=True)
    groups = combinations_of(panel.rows.iloc[firsts], sorted(chosen))
    same = (groups[:, None] == groups).astype(float)
    own = (matrix for matrix, f in zip(panel.grid.contrasts, sizes, strict=True) if f in panel.calibration)
    contrasts: Array = reduce(np.kron, [np.eye(1), *own])
    form = contrasts @ (same / same.sum(axis=1, keepdims=True) - 1 / n) @ contrasts.T
    n_conditions = panel.grid.n_cells // (n * n_searches)
    of_mean_search = point.products.reshape(2 * (n_conditions, n, n_searches))[:, :, 0, :, :, 0]
    return float(np.einsum("aiaj,ij->", of_mean_search, form))
