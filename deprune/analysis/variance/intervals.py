"""Intervals for components and shares, by resampling whole calibration draws.

Runs of one draw are not independent, so rows are never resampled. Resampling adds noise to a statistic that is
quadratic in it, so the ordinary percentile interval is wrong; here the estimator is recomputed around a centre whose
components are the estimated ones, and the interval is the estimate minus the quantiles of its error there (the basic
interval), on the logit scale for shares and the log scale for the ratio, and a little wider for the draws being few.

Source: own; coverage is measured in `experiments/statistics`.
"""

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from deprune.analysis.types import Array, Generator
from deprune.analysis.variance import estimators
from deprune.analysis.variance.estimators import Estimate
from deprune.analysis.variance.item_noise import ItemNoise, resample_items
from deprune.analysis.variance.pairs import Pairs
from deprune.analysis.variance.panel import Panel

LEVEL = 0.95
MIN_DRAWS = 20  # with fewer independent draws than this the intervals were seen to cover 83 to 93 % instead of 95


def resample(
    panel: Panel, estimate: Estimate, n: int, rng: Generator, items: ItemNoise | None = None
) -> tuple[Array, Array]:
    """Returns the centre, and n recomputed estimates around it.

    With `items`, whose noise the estimate then lacks, these are drawn again as well; for the cross-replicate estimator.
    Where runs are missing they are missing from every resample.

    Returns:
        Components of the centre followed by its seed variance, `(n_terms + 1,)`, and those of the resamples,
        `(n, n_terms + 1)`; none for vectors where a model was fitted.
    """
    centre = np.append(np.maximum(estimate.terms, 0), max(estimate.seed, 0.0))
    if estimate.pairs is not None:
        return centre, _resample_draws(panel, estimate, estimate.pairs, n, rng, items)
    return centre, _resample_model(panel, estimate, n, rng)


def _resample_draws(
    panel: Panel, estimate: Estimate, pairs: Pairs, n: int, rng: Generator, items: ItemNoise | None
) -> Array:
    grid, r = panel.grid, panel.n_seeds
    cube = panel.cube().reshape(-1, r, grid.n_cells)  # one cube per column of the response
    mean = grid.coefficients(pairs.means(cube))
    centre = mean * _shrinkage(grid.by_term((mean**2).sum(axis=0)), estimate.terms)[grid.term_of]
    cells = centre @ grid.design(len(grid.factors))[0].T
    deviations = estimators.residuals(panel, pairs).reshape(len(cube), -1)
    sources = [_with_donors(places, pairs.used.ravel(), rng) for places in panel.blocks]
    chosen = [rng.integers(len(places), size=(n, len(places))) for places in panel.blocks]
    errors = resample_items(panel, items, n, rng) if items is not None else 0.0
    resamples = np.zeros((n, len(grid.terms) + 1))
    noise = np.zeros((n, r * grid.n_cells))
    for column in range(len(cube)):
        for places, source, choice in zip(panel.blocks, sources, chosen, strict=True):
            noise[:, places] = deviations[column, source][choice]
        cubes = cells[column] + noise.reshape(n, r, grid.n_cells) + errors
        resamples += np.column_stack([pairs.terms(cubes), pairs.seed_variance(cubes)])
    if items is not None:
        resamples -= np.append(grid.by_term(np.diag(items.products)), items.seed)
    # What search seeds add within a draw was averaged before, so it stays outside the resampling.
    resamples[:, -1] += estimate.seed + (items.seed if items else 0.0) - float(pairs.seed_variance(cube).sum())
    resamples[:, 0] = 0.0
    return resamples


def _with_donors(places: Array, used: Array, rng: Generator) -> Array:
    """Returns the places of draws, `(m, c)`, those without a run replaced by the same cell of another draw.

    The pattern of holes stays where it is, so a draw may be put where it lacks a run that is needed.
    """
    lent = places.copy()
    for row, column in np.argwhere(~used[places]):
        donors = np.flatnonzero(used[places[:, column]])
        if len(donors):
            lent[row, column] = places[rng.choice(donors), column]
    return lent


def _resample_model(panel: Panel, estimate: Estimate, n: int, rng: Generator) -> Array:
    grid = panel.grid
    if panel.values.ndim > 1:  # removed blocks are no normal numbers, so there is no model to draw from
        return np.empty((0, len(grid.terms) + 1))
    model, columns = estimators.mixed_model(panel, estimate.order)
    fit = model.fit(panel.values[:, None])
    raw = np.zeros(grid.n_cells)
    raw[columns] = fit.coefficients[0]
    shrunk = raw * _shrinkage(grid.by_term(raw**2), estimate.terms)[grid.term_of]
    centre = (model.design @ shrunk[columns])[:, None]
    draws = np.sqrt(fit.draw[0]) * rng.standard_normal((panel.draws.max() + 1, n))
    noise = np.sqrt(fit.residual[0]) * rng.standard_normal((len(panel.values), n))
    again = model.fit(centre + draws[panel.draws] + noise)
    squares = np.zeros((n, grid.n_cells))
    squares[:, columns] = again.coefficients**2 - again.variances
    terms = grid.by_term(squares)
    terms[:, 0] = 0.0
    return np.column_stack([terms, again.draw + again.residual])


def _shrinkage(raw: Array, estimated: Array) -> Array:
    """Returns the factor by which each term's coefficients are too large in the mean; 1 for the mean term."""
    factors = np.sqrt(np.divide(np.maximum(estimated, 0), raw, out=np.zeros_like(raw), where=raw > 0))
    factors[0] = 1.0
    return np.minimum(factors, 1.0)


def interval_of_share(values: Array, degrees: float) -> tuple[float, float]:
    """Returns the basic interval of a share, on the logit scale where that exists.

    Where the estimate or more than a fortieth of the resamples are not positive there is no
    logit, and the interval is formed on the plain scale and cut at 0 and 1. The values are the estimate, the share at
    the centre, then the resamples, `(n + 2,)`; the degrees of freedom are those of the draws.
    """
    if len(values) == 2:
        return np.nan, np.nan
    reached = (*values[:2], *_tails(values[2:]))
    if min(reached) > 0 and max(reached) < 1:
        low, high = _basic(logit(np.clip(values, 1e-12, 1 - 1e-12)), degrees)
        return float(expit(low)), float(expit(high))
    low, high = _basic(values, degrees)
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def interval_of_log_ratio(
    above: Array, below: Array, degrees: float, level: float = LEVEL
) -> tuple[float, float, float]:
    """Returns log(above / below) with its basic interval; values and degrees are as of `interval_of_share`.

    Returns:
        The logarithm, and the ends. Where a variance may be zero, the ends are those of the two
        intervals on the plain scale, divided: wider than need be.
    """
    point = _log(above[0]) - _log(below[0]) if max(above[0], below[0]) > 0 else np.nan
    if len(above) == 2:
        return point, np.nan, np.nan
    if min(min(*v[:2], *_tails(v[2:])) for v in (above, below)) > 0:
        tiny = np.finfo(float).tiny
        return point, *_basic(np.log(np.maximum(above, tiny)) - np.log(np.maximum(below, tiny)), degrees, level)
    (a_low, a_high), (b_low, b_high) = (_basic(values, degrees, level) for values in (above, below))
    low = _log(a_low) - _log(b_high) if a_low > 0 else -np.inf
    high = _log(a_high) - _log(b_low) if b_low > 0 else np.inf
    return point, low, high


def p_of_log_ratio(above: Array, below: Array, degrees: float) -> float:
    """Returns the smallest p such that the interval of level 1 − p excludes zero, at least 2 / (n + 1)."""
    low, high = 2 / (len(above) - 1), 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        _, lower, upper = interval_of_log_ratio(above, below, degrees, 1 - middle)
        low, high = (low, middle) if lower > 0 or upper < 0 else (middle, high)
    return high


def jackknife(value: float, without: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """Returns a value with its interval from what it is `without` each draw; NaN for fewer than three of these."""
    n = len(without)
    width = stats.t.ppf((1 + level) / 2, n - 1) * (n - 1) * stats.sem(without) if n > 2 else np.nan
    return value, float(value - width), float(value + width)


def _tails(resamples: Array, level: float = LEVEL) -> tuple[float, float]:
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _basic(values: Array, degrees: float, level: float = LEVEL) -> tuple[float, float]:
    """Returns the estimate minus the quantiles of the resamples' errors.

    The variance of the draws is itself estimated, so the quantiles are taken away from the median by what
    Student's t is wider than the normal distribution.
    """
    errors = values[2:] - values[1]
    tail = (1 + level) / 2
    middle, widening = float(np.median(errors)), stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
    low, high = (middle + widening * (q - middle) for q in _tails(errors, level))
    return float(values[0] - high), float(values[0] - low)


def _log(value: float) -> float:
    return float(np.log(value)) if value > 0 else -np.inf
