"""A full grid of factor levels, its terms, and orthonormal coefficients for them.

With orthonormal contrasts b the functional-ANOVA component of a term is the plain sum of its squared
coefficients, and every estimator of this package is a quadratic form in b.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import helmert

from deprune.analysis.types import Array, Term


@dataclass(frozen=True)
class Grid:
    """All combinations of the levels of some factors, which terms name in this order; cells are in row-major order."""

    factors: tuple[str, ...]
    levels: tuple[tuple[object, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of each factor."""
        return tuple(len(levels) for levels in self.levels)

    @property
    def n_cells(self) -> int:
        """Number of combinations."""
        return math.prod(self.shape)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """All subsets of the factors: the empty one (the mean) first, then by order."""
        orders = range(len(self.factors) + 1)
        return tuple(term for k in orders for term in itertools.combinations(self.factors, k))

    @cached_property
    def term_of(self) -> Array:
        """Index into `terms` of each coefficient, `(n_cells,)`."""
        position = {term: i for i, term in enumerate(self.terms)}
        # The first coefficient of a factor is its mean, the others are contrasts.
        present = (itertools.compress(self.factors, index) for index in np.ndindex(self.shape))
        return np.array([position[tuple(term)] for term in present])

    @cached_property
    def contrasts(self) -> tuple[Array, ...]:
        """One orthogonal matrix per factor; its first row is constant."""
        return tuple(helmert(size, full=True) for size in self.shape)

    def coefficients(self, cells: Array) -> Array:
        """Returns the coefficients b of values of cells, `(..., n_cells)`, with mean(y²) = sum(b²)."""
        values = cells.reshape(*cells.shape[:-1], *self.shape)
        for axis, matrix in enumerate(self.contrasts, start=cells.ndim - 1):
            values = np.moveaxis(np.tensordot(values, matrix, axes=(axis, 1)), -1, axis)
        return values.reshape(cells.shape) / math.sqrt(self.n_cells)

    def design(self, order: int) -> tuple[Array, Array]:
        """Returns the full grid's design for all terms up to an order.

        Returns:
            The design `(n_cells, p)`, whose columns are orthogonal with mean square 1, and the
            positions of its columns among all coefficients, `(p,)`.
        """
        sizes = np.array([len(self.terms[t]) for t in self.term_of])
        columns = np.flatnonzero(sizes <= order)
        return self.coefficients(np.eye(self.n_cells))[:, columns] * self.n_cells, columns

    @cached_property
    def main_effects(self) -> Array:
        """The design of the mean and the main effects, `(n_cells, p)`."""
        return self.design(1)[0]

    def by_term(self, values: Array) -> Array:
        """Sums a value per coefficient `(..., n_cells)` over each term: `(..., n_terms)`."""
        return np.asarray(values @ np.eye(len(self.terms))[self.term_of])

    def touching(self, factors: Iterable[str], without: Iterable[str] = ()) -> Array:
        """Returns which terms contain one of `factors` and none of `without`, `(n_terms,)`."""
        wanted, unwanted = set(factors), set(without)
        return np.array([bool(wanted & {*term}) and not unwanted & {*term} for term in self.terms])


def name_of_term(term: Term) -> str:
    """Returns the factors of a term, joined."""
    return " × ".join(term)
