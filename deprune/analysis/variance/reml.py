"""Linear mixed models with one random intercept, fitted to many responses at once.

statsmodels' `mixedlm` gives the same numbers (a test compares them) but takes a second for one
response, and the parametric bootstrap needs hundreds.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from deprune.analysis.types import Array

RATIOS = np.concatenate([[0.0], np.logspace(-4, 4, 81)])
"""Ratios of draw to residual variance among which the best is first sought; it is then refined."""


@dataclass(frozen=True)
class MixedFit:
    """Fits of B responses.

    Attributes:
        coefficients: `(B, p)`.
        variances: Their variances, `(B, p)`.
        draw: Variance of the random intercept, `(B,)`.
        residual: Variance of a run on a given draw, `(B,)`.
    """

    coefficients: Array
    variances: Array
    draw: Array
    residual: Array


@dataclass(frozen=True)
class MixedModel:
    """y = X b + g[draw] + e with independent normal g and e.

    Attributes:
        design: X, of full column rank with more rows than columns, `(n, p)`.
        draws: Index of each row's draw, `(n,)`.
    """

    design: Array
    draws: Array

    @cached_property
    def _indicator(self) -> Array:
        return np.asarray((self.draws[:, None] == np.unique(self.draws)).astype(float))

    @cached_property
    def _basis(self) -> Array:
        return np.linalg.qr(self.design)[0]

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues d and vectors U of the draws' covariance among residual contrasts.

        In the coordinates U the restricted likelihood has independent terms of variance 1 + ratio · d.
        """
        z = self._indicator - self._basis @ (self._basis.T @ self._indicator)
        values, vectors = np.linalg.eigh(z.T @ z)
        kept = values > 1e-8 * max(1.0, float(values.max()))
        return values[kept], z @ vectors[:, kept] / np.sqrt(values[kept])

    @property
    def has_draws(self) -> bool:
        """Whether the design can tell the variance of draws from that of runs."""
        d, _ = self._spectrum
        degrees = self.design.shape[0] - self.design.shape[1]
        return len(d) > 0 and (degrees > len(d) or float(np.ptp(d)) > 1e-8 * float(d.max()))

    @property
    def degrees(self) -> int:
        """Residual degrees of freedom between draws, or of all runs where draws are not told apart."""
        return len(self._spectrum[0]) if self.has_draws else self.design.shape[0] - self.design.shape[1]

    def fit(self, responses: Array) -> MixedFit:
        """Fits `(n, B)` responses by restricted maximum likelihood."""
        d, u = self._spectrum
        n, p = self.design.shape
        residuals = responses - self._basis @ (self._basis.T @ responses)
        squares = (u.T @ residuals) ** 2  # (q, B)
        rest = np.maximum((residuals**2).sum(axis=0) - squares.sum(axis=0), 0.0)
        ratio = self._best_ratio(squares, rest) if self.has_draws else np.zeros(responses.shape[1])
        residual = ((squares / (1 + ratio * d[:, None])).sum(axis=0) + rest) / (n - p)
        coefficients, variances = np.empty((len(ratio), p)), np.empty((len(ratio), p))
        for i, lam in enumerate(ratio):
            inverse = self._inverse(float(lam))
            of_draws = self._shrinkage(float(lam)) * (self._indicator.T @ responses[:, i])
            coefficients[i] = inverse @ (self.design.T @ (responses[:, i] - self._indicator @ of_draws))
            variances[i] = np.diag(inverse) * residual[i]
        return MixedFit(coefficients, variances, ratio * residual, residual)

    def covariance(self, fit: MixedFit, index: int) -> Array:
        """Returns the covariance of the coefficients of one response, `(p, p)`."""
        residual = float(fit.residual[index])
        ratio = float(fit.draw[index]) / residual if residual > 0 else 0.0
        return np.asarray(self._inverse(ratio) * residual)

    def _best_ratio(self, squares: Array, rest: Array) -> Array:
        """Minimises minus twice the restricted log-likelihood over a grid, then by golden section."""
        d = self._spectrum[0]
        degrees = self.design.shape[0] - self.design.shape[1]

        def criterion(ratio: Array) -> Array:
            scale = 1 + ratio * d[:, None]
            deviance = (squares / scale).sum(axis=0) + rest
            return np.asarray(np.log(scale).sum(axis=0) + degrees * np.log(np.maximum(deviance, 1e-300)))

        values = np.stack([criterion(np.full(len(rest), ratio)) for ratio in RATIOS])
        best = values.argmin(axis=0)
        low, high = RATIOS[np.maximum(best - 1, 0)], RATIOS[np.minimum(best + 1, len(RATIOS) - 1)]
        golden = (np.sqrt(5) - 1) / 2
        for _ in range(40):
            left, right = high - golden * (high - low), low + golden * (high - low)
            better = criterion(left) < criterion(right)
            low, high = np.where(better, low, left), np.where(better, right, high)
        refined = (low + high) / 2
        return np.asarray(np.where(criterion(refined) < values.min(axis=0), refined, RATIOS[best]))

    @cached_property
    def _gram(self) -> tuple[Array, Array]:
        return self.design.T @ self.design, self._indicator.T @ self.design

    def _shrinkage(self, ratio: float) -> Array:
        return np.asarray(ratio / (1 + ratio * self._indicator.sum(axis=0)))

    def _inverse(self, ratio: float) -> Array:
        """Returns (X' V⁻¹ X)⁻¹ for a residual variance of 1."""
        gram, sums = self._gram
        cross = gram - sums.T @ (self._shrinkage(ratio)[:, None] * sums)
        return np.asarray(cho_solve(cho_factor(cross), np.eye(len(cross))))
