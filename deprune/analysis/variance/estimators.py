"""Two estimators of functional-ANOVA components; each says in words what it is.

Notation: y are the cells of a full grid, b their orthonormal coefficients (`deprune.analysis.variance.factor_grid`),
and the component of a term is the sum of its b². Noise in b adds its variance to b²; the
estimators differ in how they take that away.

Sources: the estimators are our own derivation; E[y'Py] = θ'Pθ + tr(PΣ) is the identity behind all of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from deprune.analysis.design import MAX_NAMED, name_levels
from deprune.analysis.types import Array
from deprune.analysis.variance.factor_grid import Grid, name_of_term
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
    """

    grid: Grid
    estimator: str
    products: Array
    seed: float
    order: int
    degrees: int
    draw: float = np.nan
    bias: str = ""

    @property
    def terms(self) -> Array:
        """Component of each term, `(n_terms,)`; small negative values are kept, for they make means unbiased."""
        components: Array = self.grid.by_term(np.diag(self.products))
        components[0] = 0.0  # the mean is no component
        return components


def estimate(panel: Panel, order: int | None = None) -> Estimate:
    """Estimates the components with the estimator that fits the design.

    A complete grid with two seeds or more: cross-replicate. An incomplete or unequally replicated one: fit then
    decompose. One seed per cell: the same at a lower order, marked as biased. The `order` is the highest of the terms
    fitted there, by default that of `choose_order`.

    Raises:
        AnalysisError: Terms cannot be estimated from these cells.
    """
    if panel.is_complete and panel.n_seeds > 1 and order is None:
        return cross_replicate(panel)
    return fit_then_decompose(panel, order)


def cross_replicate(panel: Panel) -> Estimate:
    """Products of different replicates: unbiased whatever the noise within a replicate is.

    Raises:
        AnalysisError: The panel is not complete, or has one replicate.
    """
    if not panel.is_complete or panel.n_seeds < 2:
        raise AnalysisError(
            "The cross-replicate estimator needs every cell with every one of two calibration seeds or more; "
            "run the missing ones, or let the estimator be chosen."
        )
    cube = panel.cube()
    b, r = panel.grid.coefficients(cube), panel.n_seeds
    total, single = b.sum(axis=-2).reshape(-1, panel.grid.n_cells), b.reshape(-1, panel.grid.n_cells)
    products = (total.T @ total - single.T @ single) / (r * (r - 1))
    seed = float(seed_variance(cube).sum()) + _variance_within_draws(panel)
    return Estimate(
        grid=panel.grid, estimator=CROSS_REPLICATE, products=products, seed=seed, draw=_draw(panel),
        order=len(panel.grid.factors), degrees=panel.n_draws - panel.n_draws // panel.n_seeds,
    )  # fmt: skip


def cross_terms(grid: Grid, cube: Array) -> Array:
    """Returns the cross-replicate components of many panels at once: `(..., r, n_cells)` -> `(..., n_terms)`."""
    b, r = grid.coefficients(cube), cube.shape[-2]
    terms = grid.by_term((b.sum(axis=-2) ** 2 - (b**2).sum(axis=-2)) / (r * (r - 1)))
    terms[..., 0] = 0.0
    return terms


def seed_variance(cube: Array) -> Array:
    """Returns the mean variance over replicates of a cell: `(..., r, n_cells)` -> `(...)`."""
    return np.asarray(cube.var(axis=-2, ddof=1).mean(axis=-1))


def _variance_within_draws(panel: Panel) -> float:
    """Returns what averaging several search seeds of one draw took away from the variance of a run."""
    of_draw = pd.DataFrame(panel.values.reshape(len(panel.places), -1)).groupby(panel.places)
    return float((of_draw.var().sum(axis=1) * (1 - 1 / of_draw.size())).mean())  # one run has none


def _draw(panel: Panel) -> float:
    """Returns the covariance of different cells of one draw, from deviations from the cells' means."""
    deviations = residuals(panel)
    sums, pairs = 0.0, 0
    for places in panel.blocks:
        block, size = deviations[..., places], places.shape[1]
        sums += float((block.sum(axis=-1) ** 2 - (block**2).sum(axis=-1)).sum())
        pairs += places.shape[0] * size * (size - 1)
    return sums / pairs if pairs else np.nan


def residuals(panel: Panel) -> Array:
    """Returns deviations from the cells' means, scaled to the variance of the noise: `(..., n_seeds · n_cells)`."""
    cube, r = panel.cube(), panel.n_seeds
    deviations = (cube - cube.mean(axis=-2, keepdims=True)) * np.sqrt(r / (r - 1))
    return np.asarray(deviations.reshape(*cube.shape[:-2], -1))


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
