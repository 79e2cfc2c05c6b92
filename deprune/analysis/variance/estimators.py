"""Two estimators of functional-ANOVA components; each says in words what it is.

Notation: y are the cells of a full grid, b their orthonormal coefficients (`deprune.analysis.variance.factor_grid`),
and the component of a term is the sum of its b². Noise in b adds its variance to b²; the
estimators differ in how they take that away.

Sources: the estimators are our own derivation; E[y'Py] = θ'Pθ + tr(PΣ) is the identity behind all of them.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deprune.analysis.design import MAX_NAMED, name_levels
from deprune.analysis.types import Array
from deprune.analysis.variance.factor_grid import Grid, name_of_term
from deprune.analysis.variance.pairs import Pairs
from deprune.analysis.variance.panel import Panel
from deprune.analysis.variance.reml import MixedModel
from deprune.core.errors import AnalysisError

CROSS_REPLICATE = "cross-replicate"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Components of the variance over a grid.

    Attributes:
        estimator: Which estimator, in words for readers.
        products: Estimate of the matrix b b', `(n_cells, n_cells)`; components are sums of its diagonal.
        seed: Variance of a run within its cell: calibration draw and search seed.
        draw: The part of `seed` that a calibration draw shares; NaN where it is not told apart.
        order: Highest order of the terms that were estimated.
        degrees: Degrees of freedom that are left for the variance of draws, or of runs where draws are not told apart.
        bias: What is known to be wrong with the numbers; empty for unbiased ones.
        pairs: The runs that were compared; None where a model was fitted.
    """

    grid: Grid
    estimator: str
    products: Array
    seed: float
    order: int
    degrees: int
    draw: float = np.nan
    bias: str = ""
    pairs: Pairs | None = None

    @property
    def terms(self) -> Array:
        """Component of each term, `(n_terms,)`; small negative values are kept, for they make means unbiased."""
        components: Array = self.grid.by_term(np.diag(self.products))
        components[0] = 0.0  # the mean is no component
        return components


def estimate(panel: Panel, order: int | None = None) -> Estimate:
    """Estimates the components with the estimator that fits the design.

    Cross-replicate where cells have two seeds or more, but for so few that the others say what these are. Else fit then
    decompose, the same at a lower order and marked as biased where there is one seed a cell. The `order` is the highest
    of the terms fitted there, by default that of `choose_order`.

    Raises:
        AnalysisError: Terms cannot be estimated from these cells.
    """
    if order is None and (panel.counts > 0).sum(axis=0).max() > 1:
        with suppress(AnalysisError):
            return cross_replicate(panel)
    return fit_then_decompose(panel, order)


def cross_replicate(panel: Panel) -> Estimate:
    """Products of different replicates: unbiased whatever the noise within a replicate is. See `pairs`.

    Raises:
        AnalysisError: Too few cells have two replicates.
    """
    pairs, cube, bias = Pairs(panel.grid, panel.counts > 0), panel.cube(), list[str]()
    products = pairs.products(cube)
    seed = float(pairs.seed_variance(cube).sum()) + _variance_within_draws(panel)
    if len(pairs.predicted):
        found = f"{len(pairs.predicted)} of {panel.grid.n_cells} cells have fewer than two seeds"
        bias.append(f"{found} and are predicted from the others, their interactions of high order taken to be zero")
    return Estimate(
        grid=panel.grid, estimator=CROSS_REPLICATE + (", over the pairs that exist" if len(panel.missing) else ""),
        products=products, seed=seed, draw=_draw(panel, pairs), order=len(panel.grid.factors),
        degrees=panel.n_draws - panel.n_draws // panel.n_seeds, bias="; ".join(bias), pairs=pairs,
    )  # fmt: skip


def _variance_within_draws(panel: Panel) -> float:
    """Returns what averaging several search seeds of one draw took away from the variance of a run."""
    of_draw = pd.DataFrame(panel.values.reshape(len(panel.places), -1)).groupby(panel.places)
    return float((of_draw.var().sum(axis=1) * (1 - 1 / of_draw.size())).mean())  # one run has none


def _draw(panel: Panel, pairs: Pairs) -> float:
    """Returns the covariance of different cells of one draw, from deviations from the cells' means."""
    deviations, used = residuals(panel, pairs), pairs.used.ravel()
    sums, n_pairs = 0.0, 0
    for places in panel.blocks:
        block, size = deviations[..., places], used[places].sum(axis=1)
        sums += float((block.sum(axis=-1) ** 2 - (block**2).sum(axis=-1)).sum())
        n_pairs += int((size * (size - 1)).sum())
    return sums / n_pairs if n_pairs else np.nan


def residuals(panel: Panel, pairs: Pairs) -> Array:
    """Returns deviations from the cells' means, scaled to the variance of the noise: `(..., n_seeds · n_cells)`."""
    deviations = pairs.residuals(panel.cube())
    return deviations.reshape(*deviations.shape[:-2], -1)


def fit_then_decompose(panel: Panel, order: int | None = None) -> Estimate:
    """Fits the terms with a random effect of the draw, predicts the full grid and decomposes that.

    Terms above `order` are taken to be zero.

    Raises:
        AnalysisError: Terms cannot be estimated from these cells.
    """
    order = choose_order(panel) if order is None else order
    model, columns = mixed_model(panel, order)
    fit = model.fit(panel.values.reshape(len(panel.cells), -1))
    products = np.zeros((panel.grid.n_cells, panel.grid.n_cells))
    noise = sum(model.covariance(fit, i) for i in range(len(fit.draw)))
    products[np.ix_(columns, columns)] = fit.coefficients.T @ fit.coefficients - noise
    name, bias = f"draw REML of order {order}", list[str]()
    if not model.has_draws:
        name = f"least squares of order {order}"
        bias.append("the variance of calibration draws cannot be told apart and is in the other terms")
    if not (panel.counts.sum(axis=0) > 1).any():
        name += ", noise from the interactions above"
        bias.append(f"one seed per cell: interactions above order {order} are taken for noise")
    elif order < len(panel.grid.factors):
        bias.append(f"interactions above order {order} are taken to be zero")
    return Estimate(
        grid=panel.grid, estimator=name, products=products, seed=float((fit.draw + fit.residual).sum()),
        order=order, degrees=model.degrees, draw=float(fit.draw.sum()) if model.has_draws else np.nan,
        bias="; ".join(bias),
    )  # fmt: skip


def mixed_model(panel: Panel, order: int) -> tuple[MixedModel, Array]:
    """Returns the mixed model of a panel and the positions of its coefficients, or refuses what is not estimable."""
    design, columns = panel.grid.design(order)
    rows = design[panel.cells]
    if problem := _not_estimable(panel.grid, rows, columns):
        raise AnalysisError(
            f"With {panel.n_cells_missing} of {panel.grid.n_cells} cells empty and {len(rows)} runs, these terms of "
            f"order {order} or less cannot be estimated: {problem}; run the missing cells, drop a level with "
            "where={...}, or fit a lower order."
        )
    return MixedModel(rows, panel.draws), columns


def choose_order(panel: Panel) -> int:
    """Returns the highest order on full grids with repeats; elsewhere 3, or fewer where cells cannot estimate it."""
    n_factors, counts = len(panel.grid.factors), panel.counts.sum(axis=0)
    if (counts > 0).all() and (counts > 1).any():
        return n_factors
    order = max(1, min(3, n_factors - 1))
    design, columns = panel.grid.design(order)
    return 2 if order == 3 and _not_estimable(panel.grid, design[panel.cells], columns) else order


def _not_estimable(grid: Grid, rows: Array, columns: Array) -> str:
    """Returns the names of the terms that the rows leave open, or nothing."""
    eigenvalues, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    free = eigenvalues < 1e-9 * eigenvalues[-1]
    if not free.any():
        return "" if len(rows) > len(columns) else "all, for there are no more runs than coefficients"
    loadings = np.abs(directions[:, free]).max(axis=1) > 1e-6
    terms = sorted({int(t) for t in grid.term_of[columns[loadings]] if t > 0})
    return name_levels([name_of_term(grid.terms[t]) for t in terms][: 4 * MAX_NAMED])
