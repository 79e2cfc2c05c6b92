"""Permutation tests that move whole calibration draws.

Runs on one draw are not exchangeable with runs on another, so for calibration whole draws change places
between configurations (within model, where each model has its own), and the configurations computed from one draw
change places within it; for the search, searches change places within a draw, in all its cells
at once. The statistic is the sum of squares of the terms in question, over all columns of the response.

Source: own; for one factor it is PERMANOVA (Anderson 2001) on squared Euclidean distances.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.types import Array, Generator
from deprune.analysis.variance.pairs import Pairs
from deprune.analysis.variance.panel import SEARCH, Panel, combinations_of
from deprune.core.errors import AnalysisError

ROUNDING = 1e-9  # sums in another order differ by less
CHUNK = 128  # permutations that are evaluated at once, to bound the memory


def permutation_p(panel: Panel, effect: str, n: int, rng: Generator) -> float:
    """Returns the p value of no effect of the calibration configuration or of the search.

    Where there are no more than n permutations, all are tried and p is exact. NaN where nothing can be exchanged.

    The effect is `calibration` or `search`; the response may be a vector. Where runs are missing, the holes move with
    the draws or searches that have them.
    """
    sources, exact = permutations(panel, effect, n, rng)
    if len(sources) < 2 or (effect == "calibration" and panel.n_seeds < 2 and _draws_differ(panel)):
        return math.nan
    touched, avoided = ((SEARCH,), panel.calibration) if effect == "search" else (panel.calibration, (SEARCH,))
    chosen = panel.grid.touching(touched, without=avoided)
    cubes = panel.cube().reshape(-1, panel.n_seeds * panel.grid.n_cells)  # a row per column of the response
    places = np.vstack([np.arange(cubes.shape[1]), sources])  # what was observed, then its permutations
    try:
        terms = _squares(panel, cubes, places) if panel.is_complete else _products(panel, cubes, places)
    except AnalysisError:  # too few pairs to compare
        return math.nan
    statistic = terms[:, chosen].sum(axis=1)
    # Sums in another order differ in the last digits; such permutations are ties.
    as_large = int((statistic[1:] >= statistic[0] - ROUNDING * abs(statistic[0])).sum())
    return as_large / len(sources) if exact else (as_large + 1) / (len(sources) + 1)


def _squares(panel: Panel, cubes: Array, places: Array) -> Array:
    """Returns the sums of squares of terms of rearranged runs, `(n, n_terms)`."""
    found = []
    for i in range(0, len(places), CHUNK):
        moved = cubes[:, places[i : i + CHUNK]].reshape(len(cubes), -1, panel.n_seeds, panel.grid.n_cells)
        found.append((panel.grid.coefficients(moved.mean(axis=2)) ** 2).sum(axis=0))
    return panel.grid.by_term(np.vstack(found))


def _products(panel: Panel, cubes: Array, places: Array) -> Array:
    """Returns the components of rearranged runs with holes, `(n, n_terms)`."""
    exists, shape = panel.counts.ravel() > 0, (panel.n_seeds, panel.grid.n_cells)
    moved = (
        Pairs(panel.grid, exists[order].reshape(shape)).terms(cubes[:, order].reshape(-1, *shape)) for order in places
    )
    return np.stack([terms.sum(axis=0) for terms in moved])


def _draws_differ(panel: Panel) -> bool:
    """Whether some calibration factor is only compared between draws."""
    rows, of_draw = panel.rows, panel.rows.groupby(panel.draws)
    varying = [f for f in panel.calibration_factors if rows[f].nunique(dropna=False) > 1]
    return any(of_draw[f].nunique(dropna=False).max() == 1 for f in varying)


def permutations(panel: Panel, effect: str, n: int, rng: Generator) -> tuple[Array, bool]:
    """Returns where each place takes its value from, `(n, n_seeds · n_cells)`, and whether these are all."""
    parts = [(places, *part) for places in panel.blocks for part in _layout(panel, places, effect)]
    sizes: list[int] = []
    for _, inside, group in parts:
        sizes += [len(inside)] * len(group) + [len(group)] * (effect == "calibration")
    orders, exact = orders_of(sizes, n, rng)
    n_orders = len(orders[0]) if orders else 1
    source = np.tile(np.arange(panel.n_seeds * panel.grid.n_cells), (n_orders, 1))
    used = iter(orders)
    for places, inside, group in parts:
        moved = np.stack([places[i][inside[next(used)]].reshape(n_orders, -1) for i in group], axis=1)
        if effect == "calibration":
            moved = np.take_along_axis(moved, next(used)[:, :, None], axis=1)
        source[:, places[group][:, inside].reshape(len(group), -1)] = moved
    return source, exact


def _layout(panel: Panel, places: Array, effect: str) -> list[tuple[Array, Array]]:
    """Returns how the cells of a draw are exchanged, for each group of draws that are.

    That is the columns of `places` by level that is exchanged and everything else, `(levels, rest)`, and the rows of
    `places` that may change places.
    """
    frame = panel.laid_out
    exchanged = [SEARCH] if effect == "search" else list(panel.calibration_factors)
    rest = [f for f in design.factors_of(frame) if f not in exchanged]
    cells = frame.loc[places[0]]
    level = combinations_of(cells, exchanged)
    order = np.lexsort((combinations_of(cells, rest), level))
    counts = np.bincount(level)
    # Configurations with different cells cannot be exchanged for one another.
    inside = order.reshape(len(counts), -1) if np.ptp(counts) == 0 else order[None]
    own = [f for f in design.factors_of(frame, *design.WITHIN) if _is_constant(frame[f], places)]
    keys = combinations_of(frame.loc[places[:, 0]], own)
    return [(inside, np.flatnonzero(keys == k)) for k in np.unique(keys)]


def _is_constant(factor: pd.Series, places: Array) -> bool:
    """Whether the factor has one level in each draw, a row of places."""
    levels = pd.Series(pd.factorize(factor)[0], index=factor.index).reindex(range(places.max() + 1)).to_numpy()[places]
    return bool((levels == levels[:, :1]).all())


def orders_of(sizes: Sequence[int], n: int, rng: Generator) -> tuple[list[Array], bool]:
    """Returns orders of each of some sets, `(n, size)` each; all combinations where these are at most n."""
    if math.prod(math.factorial(size) for size in sizes) <= n:
        every = itertools.product(*(itertools.permutations(range(size)) for size in sizes))
        return [np.array(orders) for orders in zip(*every, strict=True)], True
    return [rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1) for size in sizes], False


def permutation_tests(panel: Panel, n: int, rng: Generator) -> pd.DataFrame:
    """Returns both tests as a table: `effect`, `p`, and the number of independent `draws`."""
    effects = ["calibration"] * bool(panel.calibration) + ["search"] * (SEARCH in panel.grid.factors)
    rows = [(effect, permutation_p(panel, effect, n, rng), panel.n_draws) for effect in effects]
    return pd.DataFrame(rows, columns=["effect", "p", "draws"])
