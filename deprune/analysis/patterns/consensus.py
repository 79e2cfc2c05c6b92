"""How alike removal patterns are, and how much they scatter: means over pairs of runs."""

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis import design
from deprune.analysis.patterns.masks import masks_of, with_patterns
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array, Generator
from deprune.analysis.variance.intervals import jackknife
from deprune.analysis.variance.panel import combinations_of
from deprune.analysis.variance.permute import orders_of

N_SHIFTS = 200
N_PERMUTATIONS = 999


def consensus(results: Results) -> pd.DataFrame:
    """Returns how alike patterns are: the mean Jaccard similarity of pairs of runs of one condition.

    Returns:
        One row per condition (model and budget) and kind of pair: `within calibration` (one draw, other searches),
        `within search` (one search, other configurations), `within configuration` (one search, another seed: the
        ceiling), and `difference`, the first minus the second. `jaccard` with `low` and `high` (jackknife over
        whole draws), `chance` for random sets of that size, `chance_removable` for sets of blocks that some
        run removed, `chance_shifted` for the same patterns shifted around, `corrected` = (jaccard − chance) /
        (1 − chance), `pairs` and `draws`. In the row of the difference, `p` is the share of exchanges of whole draws
        between configurations that give a difference as large: the test of no effect of the configuration.
    """
    runs = with_patterns(results)
    rows, within = [], design.conditions(runs)
    for key, group in runs.groupby(within, observed=True):
        condition = dict(zip(within, key, strict=True))
        rows += [condition | row for row in _consensus_rows(group, masks_of(group).to_numpy())]
    return pd.DataFrame(rows)


def _consensus_rows(runs: pd.DataFrame, masks: Array) -> list[dict[str, object]]:
    shared = masks @ masks.T
    size = int(masks[0].sum())
    jaccard = shared / (2 * size - shared)
    configuration, search, seed = (_same(runs[f]) for f in (design.CONFIGURATION, design.SEARCH, design.SEED))
    draws = pd.factorize(design.draws_of(runs), use_na_sentinel=False)[0]
    upper = np.triu(np.ones_like(jaccard, dtype=bool), 1)
    kinds = {
        "within calibration": upper & configuration & seed & ~search,
        "within search": upper & search & ~configuration,
        "within configuration": upper & configuration & search & ~seed,
    }
    chance = {
        "chance": chance_jaccard(masks.shape[1], size),
        "chance_removable": chance_jaccard(int(masks.any(axis=0).sum()), size),
        "chance_shifted": _shifted_jaccard(masks, np.random.default_rng(0)),
    }
    rows: list[dict[str, object]] = []
    floor, n_draws = chance["chance"], len(np.unique(draws))
    for kind, pairs in kinds.items():
        if pairs.any():
            value, low, high = _jackknife(jaccard, [(pairs, 1.0)], draws)
            row = {"kind": kind, "jaccard": value, "low": max(low, 0.0), "high": min(high, 1.0), **chance}
            row["corrected"] = (value - floor) / (1 - floor) if floor < 1 else np.nan
            rows.append(row | {"pairs": int(pairs.sum()), "draws": n_draws})
    if len(rows) > 1 and rows[1]["kind"] == "within search":
        signed = [(kinds["within calibration"], 1.0), (kinds["within search"], -1.0)]
        value, low, high = _jackknife(jaccard, signed, draws)
        p = _exchange_p(jaccard, runs, draws, np.random.default_rng(0))
        rows.append({"kind": "difference", "jaccard": value, "low": low, "high": high, "draws": n_draws, "p": p})
    return rows


def _exchange_p(jaccard: Array, runs: pd.DataFrame, draws: Array, rng: Generator) -> float:
    """Returns the p value of a difference as large when whole draws change places between configurations.

    Pairs of one draw stay what they are, so the difference is as large as pairs of one search and of different
    configurations are unlike. What varies inside a draw, such as the objective, goes with it. NaN where no draws of
    different configurations can be exchanged.
    """
    calibration = design.factors_of(runs, design.Role.CALIBRATION)
    of_draw = runs.groupby(draws)
    inside = [f for f in calibration if of_draw[f].nunique(dropna=False).max() > 1]
    outside = [f for f in calibration if f not in inside]
    inner = combinations_of(runs, inside)
    outer = combinations_of(runs, outside)[np.unique(draws, return_index=True)[1]]
    if len(np.unique(outer)) in (1, len(outer)):
        return np.nan
    units = np.eye(len(outer))[draws]
    same_search = _same(runs[design.SEARCH])
    np.fill_diagonal(same_search, False)
    same_inside = same_search & (inner[:, None] == inner)
    # By pairs of draws: what counts only where their configurations differ, and what always does.
    between, always = (
        np.stack([units.T @ np.where(pairs, values, 0.0) @ units for values in (jaccard, 1.0)])
        for pairs in (same_inside, same_search & ~same_inside)
    )
    orders, exact = orders_of([len(outer)], N_PERMUTATIONS, rng)
    moved = np.vstack([outer, outer[orders[0]]])
    differ = (moved[:, :, None] != moved[:, None, :]).astype(float)
    sums = np.einsum("nij,kij->kn", differ, between) + always.sum(axis=(1, 2))[:, None]
    similar = sums[0] / sums[1]
    as_unlike = int((similar[1:] <= similar[0] + 1e-12).sum())
    return as_unlike / len(orders[0]) if exact else (as_unlike + 1) / (len(orders[0]) + 1)


def _same(column: pd.Series) -> Array:
    codes = pd.factorize(column, use_na_sentinel=False)[0]
    return np.asarray(codes[:, None] == codes)


def _jackknife(values: Array, parts: list[tuple[Array, float]], draws: Array) -> tuple[float, float, float]:
    """Returns a signed sum of means over pairs, with an interval from leaving out whole draws."""
    units = np.eye(draws.max() + 1)[draws]  # (runs, draws)
    point, without = 0.0, np.zeros(units.shape[1])
    for pairs, sign in parts:
        both = np.stack([np.where(pairs, values, 0.0), pairs.astype(float)])  # sums and counts
        total = both.sum(axis=(1, 2))
        touched = both.sum(axis=2) @ units + both.sum(axis=1) @ units  # pairs inside one draw are here twice
        inside = np.einsum("kij,id,jd->kd", both, units, units, optimize=True)
        left = total[:, None] - touched + inside
        point += sign * total[0] / total[1]
        without += sign * np.divide(left[0], left[1], out=np.full(len(without), np.nan), where=left[1] > 0)
    return jackknife(float(point), without[np.isfinite(without)])


def chance_jaccard(n_blocks: int, size: int) -> float:
    """Returns the mean Jaccard similarity of two random sets of `size` out of `n_blocks` blocks."""
    if size == 0:
        return 1.0
    overlap = np.arange(size + 1)
    return float((stats.hypergeom(n_blocks, size, size).pmf(overlap) * overlap / (2 * size - overlap)).sum())


def _shifted_jaccard(masks: Array, rng: np.random.Generator) -> float:
    """Returns the mean similarity of pairs when one is shifted around, which keeps its runs of blocks together."""
    n, n_blocks = masks.shape
    first, second = rng.integers(n, size=(2, N_SHIFTS))
    shifts = (np.arange(n_blocks) + rng.integers(n_blocks, size=(N_SHIFTS, 1))) % n_blocks
    shared = (masks[first] * np.take_along_axis(masks[second], shifts, axis=1)).sum(axis=1)
    return float((shared / (2 * masks[0].sum() - shared)).mean())


def dispersion(results: Results) -> pd.DataFrame:
    """Returns how much patterns scatter at each level of each factor: location and scatter are different things.

    A share of PERMANOVA may come from either; this is the statement on scatter alone.

    Returns:
        The condition (`model`, `budget`), `factor`, `level`, the mean symmetric difference [blocks] of two runs at
        that level, `low` and `high` (jackknife over whole draws), and the number of `distinct` patterns among `runs`.
    """
    runs = with_patterns(results)
    rows, within = [], design.conditions(runs)
    kinds = [part.name for part in design.label_parts(runs) if not part.tag]
    for key, group in runs.groupby(within, observed=True):
        for factor in (f for f in (*kinds, design.SEARCH) if group[f].nunique() > 1):
            for level, part in group.groupby(factor, observed=True):
                if len(part) > 1:
                    row = dict(zip(within, key, strict=True)) | {"factor": factor, "level": level}
                    rows.append(row | _scatter(part))
    return pd.DataFrame(rows)


def _scatter(runs: pd.DataFrame) -> dict[str, object]:
    masks = masks_of(runs).to_numpy()
    distance = 2 * (masks[0].sum() - masks @ masks.T)
    draws = pd.factorize(design.draws_of(runs), use_na_sentinel=False)[0]
    value, low, high = _jackknife(distance, [(np.triu(np.ones(distance.shape, dtype=bool), 1), 1.0)], draws)
    distinct = runs["subset"].nunique()
    return {"difference": value, "low": low, "high": high, "distinct": distinct, "runs": len(runs)}
