"""Averages over pairs of different replicates, on grids with holes.

With y_ik the value of cell i in replicate k, n_i the replicates that cell i has and n_ij those that i and j share,

    M_ij = sum over k ≠ l of y_ik y_jl / (n_i n_j − n_ij)

estimates the product of the cells' true values without bias, whatever the covariance inside a replicate is. A component
is a sum over M. On a complete grid this is the cross-replicate estimator.

Two things are done for the sake of holes, and change nothing without them. Main effects are taken out before the pairs
are formed and put back as they are, or cells that lack different replicates would differ by them. A cell with fewer
than two replicates has no pair with itself; it is predicted from the others' terms of low order.

Source: own.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deprune.analysis.types import Array
from deprune.analysis.variance.factor_grid import Grid
from deprune.core.errors import AnalysisError

UNSEEN_ORDERS = (4, 3)  # terms of this order and above are taken to be zero in cells without pairs, as far as needed
MOST_PREDICTED = 0.1  # share of cells without pairs above which intervals were seen to cover less than they say
LEAST_INFORMATION = 0.02  # of a predicted cell's variance: what the terms that are taken to be zero there leave over
NEGLIGIBLE = 1e-12  # part of the largest weight below which a pattern of replicates adds nothing


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of runs of one pattern of holes.

    Attributes:
        grid: The cells.
        runs: Which replicates of which cells exist, `(r, n_cells)`.
    """

    grid: Grid
    runs: Array

    @cached_property
    def used(self) -> Array:
        """The runs of cells with two replicates or more, `(r, n_cells)`."""
        return np.asarray(self.runs & (self.runs.sum(axis=0) > 1))

    @cached_property
    def n_used(self) -> Array:
        """Number of replicates of each cell, `(n_cells,)`; 0 for a predicted one."""
        return np.asarray(self.used.sum(axis=0))

    @cached_property
    def predicted(self) -> Array:
        """The cells without a pair of their own."""
        return np.flatnonzero(self.n_used == 0)

    @cached_property
    def _patterns(self) -> tuple[Array, Array]:
        """The weights of all pairs of cells, 1 / (n_i n_j − n_ij), as a sum of outer products of few vectors.

        Cells with the same replicates have the same weights. Returns the signed sizes, `(m,)`, and the vectors, which
        are zero at predicted cells, `(m, n_cells)`.
        """
        patterns, which = np.unique(self.used, axis=1, return_inverse=True)
        counts, shared = patterns.sum(axis=0), patterns.T.astype(float) @ patterns
        n_pairs = np.outer(counts, counts) - shared
        sizes, vectors = np.linalg.eigh(np.divide(1, n_pairs, out=np.zeros_like(n_pairs), where=n_pairs > 0))
        kept = np.abs(sizes) > NEGLIGIBLE * np.abs(sizes).max()
        return sizes[kept], vectors.T[kept][:, which.ravel()] * (self.n_used > 0)

    @cached_property
    def _prediction(self) -> tuple[Array, Array]:
        """What predicts cells: the chosen coefficients, and the matrix from these to the predicted cells.

        The values are those that make the terms of high order smallest.

        Raises:
            AnalysisError: The cells that have pairs are too few, or do not say what the others are.
        """
        if len(self.predicted) > MOST_PREDICTED * self.grid.n_cells:
            raise self._too_few
        at_cell = self.grid.coefficients(np.eye(self.grid.n_cells)[self.predicted]) * self.grid.n_cells
        orders = np.array([len(self.grid.terms[t]) for t in self.grid.term_of])
        highest = len(self.grid.factors)
        for order in dict.fromkeys(min(wanted, highest) for wanted in UNSEEN_ORDERS):
            high = np.flatnonzero(orders >= order)
            form = at_cell[:, high] @ at_cell[:, high].T / self.grid.n_cells
            if np.linalg.eigvalsh(form)[0] > LEAST_INFORMATION:
                return high, -np.linalg.solve(form, at_cell[:, high])
        raise self._too_few

    @property
    def _too_few(self) -> AnalysisError:
        return AnalysisError(
            f"{len(self.predicted)} of {self.grid.n_cells} cells have fewer than two calibration seeds, and the others "
            "do not say what they are; run the missing jobs."
        )

    def _completed(self, cells: Array) -> Array:
        """Returns values of cells, `(..., n_cells)`, zero at predicted ones, with these predicted."""
        if not len(self.predicted):
            return cells
        chosen, matrix = self._prediction
        completed = cells.copy()
        completed[..., self.predicted] = self.grid.coefficients(cells)[..., chosen] @ matrix.T
        return completed

    def means(self, cubes: Array) -> Array:
        """Returns the values of cells, `(..., r, n_cells)` -> `(..., n_cells)`."""
        sums = np.where(self.used, cubes, 0.0).sum(axis=-2)
        return self._completed(sums / np.maximum(self.n_used, 1))

    def _split(self, cubes: Array) -> tuple[Array, Array, Array]:
        """Returns the main effects, `(..., n_cells)`, and what is left of the cells' values and of the runs."""
        means = self.means(cubes)
        main = self.grid.main_effects
        effects = (means @ main / self.grid.n_cells) @ main.T
        return effects, means - effects, np.where(self.used, cubes - effects[..., None, :], 0.0)

    def terms(self, cubes: Array) -> Array:
        """Returns the components of many panels at once, `(..., r, n_cells)` -> `(..., n_terms)`.

        Values where there is no run do not matter.
        """
        effects, _, runs = self._split(cubes)
        components = self._squares(effects)
        total = runs.sum(axis=-2)
        for size, vector in zip(*self._patterns, strict=True):
            same = self._squares(self._completed(vector * runs)).sum(axis=-2)
            components += size * (self._squares(self._completed(vector * total)) - same)
        components[..., 0] = 0.0  # the mean is no component
        return components

    def products(self, cubes: Array) -> Array:
        """Returns the estimate of b b', summed over panels, `(..., r, n_cells)` -> `(n_cells, n_cells)`."""
        effects, rest, runs = self._split(cubes)
        whole, part = self._coefficients(effects + rest), self._coefficients(rest)
        products: Array = whole.T @ whole - part.T @ part
        total = runs.sum(axis=-2)
        for size, vector in zip(*self._patterns, strict=True):
            b, single = (self._coefficients(self._completed(vector * values)) for values in (total, runs))
            products += size * (b.T @ b - single.T @ single)
        return products

    def _coefficients(self, cells: Array) -> Array:
        return np.asarray(self.grid.coefficients(cells).reshape(-1, self.grid.n_cells))

    def _squares(self, cells: Array) -> Array:
        return self.grid.by_term(self.grid.coefficients(cells) ** 2)

    def seed_variance(self, cubes: Array) -> Array:
        """Returns the mean variance over the replicates of a cell, `(..., r, n_cells)` -> `(...)`."""
        squares = (self.residuals(cubes) ** 2).sum(axis=-2)
        return np.asarray((squares / np.maximum(self.n_used, 1)).sum(axis=-1) / (self.n_used > 0).sum())

    def residuals(self, cubes: Array) -> Array:
        """Returns deviations from the cells' means, scaled to the variance of the noise; zero where there is no run."""
        deviations = np.where(self.used, cubes - self.means(cubes)[..., None, :], 0.0)
        return np.asarray(deviations * np.sqrt(self.n_used / np.maximum(self.n_used - 1, 1)))
