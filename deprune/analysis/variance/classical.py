"""The classical analysis-of-variance table, for the appendix; its effect sizes are biased and say so."""

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.anova import anova_lm

from deprune.analysis.adjust import benjamini_hochberg, with_adjusted
from deprune.analysis.types import Array
from deprune.analysis.variance.estimators import mixed_model
from deprune.analysis.variance.factor_grid import name_of_term
from deprune.analysis.variance.panel import Panel

MAX_F = 1e8  # above it the error is rounding, as where a response has no noise; the noncentral F would take minutes


def classical_table(panel: Panel, order: int = 2) -> pd.DataFrame:
    """Returns the type II table of the runs, all factors in sum coding.

    On complete grids with two seeds or more a term is tested against its own interaction with the seed, which
    is the right error for draws and searches alike. Elsewhere the error is the residual, in which runs
    on one draw count as independent: calibration then looks more significant than it is.

    Terms above `order` are in the residual.

    Returns:
        `term`, `df`, `ss`, `error`, `ms_error`, `f`, `p`, `p_adjusted` (Benjamini-Hochberg), `eta2`, `partial_eta2`,
        `omega2`, `partial_omega2` with `omega2_low` and `omega2_high` (noncentral F), and `bias`.

    Raises:
        AnalysisError: Terms cannot be estimated from these cells.
    """
    mixed_model(panel, order)  # raises where a column of the design is not estimable
    squares = _type_two(panel, order)
    n, total = len(panel.values), float(((panel.values - panel.values.mean()) ** 2).sum())
    residual = squares.pop("Residual")
    own = _own_strata(panel) if panel.is_complete and panel.n_seeds > 1 else {}
    error = "term × seed" if own else "residual of runs taken as independent"
    rows = []
    for term, (df, ss) in squares.items():
        df_error, ms_error = own.get(term, (residual[0], residual[1] / residual[0]))
        f = ss / df / ms_error if ms_error > 0 else np.nan
        low, high = _omega_interval(f, df, df_error, n)
        row = {"term": term, "df": int(df), "ss": ss, "error": error, "ms_error": ms_error}
        row |= {"f": f, "p": float(stats.f.sf(f, df, df_error))}
        row |= {"eta2": ss / total, "partial_eta2": ss / (ss + df_error * ms_error)}
        row |= {"omega2": (ss - df * ms_error) / (total + ms_error)}
        row |= {"partial_omega2": df * (f - 1) / (df * (f - 1) + n), "omega2_low": low, "omega2_high": high}
        rows.append(row)
    return with_adjusted(pd.DataFrame(rows), "p", "p_adjusted", benjamini_hochberg).assign(
        bias="eta2 and partial_eta2 biased upwards; partial_eta2 not comparable between terms"
        + ("" if own else "; p and omega2 take runs for independent")
    )


def _type_two(panel: Panel, order: int) -> dict[str, tuple[float, float]]:
    """Returns degrees of freedom and type II sums of squares by term, and of the residual."""
    names = {factor: f"f{i}" for i, factor in enumerate(panel.grid.factors)}
    index = np.unravel_index(panel.cells, panel.grid.shape)
    frame = pd.DataFrame(dict(zip(names.values(), index, strict=True))).assign(y=panel.values)
    coded = " + ".join(f"C({name}, Sum)" for name in names.values())
    table = anova_lm(smf.ols(f"y ~ ({coded}) ** {order}", frame).fit(), typ=2)
    terms = {":".join(f"C({names[f]}, Sum)" for f in term): name_of_term(term) for term in panel.grid.terms}
    return {terms.get(label, label): (float(row["df"]), float(row["sum_sq"])) for label, row in table.iterrows()}


def _own_strata(panel: Panel) -> dict[str, tuple[float, float]]:
    """Returns degrees of freedom and mean square of each term's interaction with the seed."""
    grid, r = panel.grid, panel.n_seeds
    squares = len(panel.values) * grid.by_term(grid.coefficients(panel.cube()).var(axis=0))
    degrees: Array = np.bincount(grid.term_of) * (r - 1)
    strata = zip(grid.terms, degrees, squares, strict=True)
    return {name_of_term(term): (float(df), float(ss / df)) for term, df, ss in strata}


def _omega_interval(f: float, df: float, df_error: float, n: int) -> tuple[float, float]:
    """Returns the 95 % interval of partial omega², by inverting the noncentral F for its noncentrality."""

    def excess(noncentrality: float, p: float) -> float:
        return float(stats.ncf.cdf(f, df, df_error, noncentrality)) - p

    if not f < MAX_F:
        return np.nan, np.nan
    most = max(10.0, 10 * f * df)
    low, high = (brentq(excess, 0, most, args=(p,), xtol=1e-13) if excess(0, p) > 0 else 0.0 for p in (0.975, 0.025))
    return low / (low + n), high / (high + n)
