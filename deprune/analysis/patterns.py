"""Which blocks go: the decomposition of removal patterns, and how alike they are.

With patterns as vectors of 0 and 1 the squared distance of two is the size of their symmetric difference, so
PERMANOVA on that distance is the sum over blocks of the ordinary decomposition of one block's column (McArdle and
Anderson 2001); no distance matrix is needed, and the estimators of scalars serve as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis.decompose import N_PERMUTATIONS
from deprune.analysis.estimators import estimate
from deprune.analysis.frame import Results
from deprune.analysis.headline import Ratio, Resampled, component_table, factor_table, headline_table, quantities, ratio
from deprune.analysis.intervals import resample
from deprune.analysis.panel import Panel, build_panel
from deprune.analysis.permute import permutation_tests
from deprune.analysis.types import Array
from deprune.errors import AnalysisError
from deprune.nearest import unknown_name

N_SHIFTS = 200


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """The decomposition of one model's removal patterns.

    Attributes:
        model: The model.
        headline: As of `Decomposition`; variances are sums over blocks of the variance of being
            removed, so half the mean symmetric difference of two runs taken at random.
        ratio: log(V_C / V_S) and the verdict.
        tests: Permutation p values of no effect on the patterns (PERMANOVA), permuting whole draws.
        components: One row per term.
        factors: Shares by factor; `switch_difference` is the mean symmetric difference [blocks] when that
            factor alone moves to another level.
        by_block: One row per block: `removed` share of runs, and the headline variances of that block alone.
        panel: The runs, their grid and their patterns.
        notes: Sentences that belong under every table.
    """

    model: str
    headline: pd.DataFrame
    ratio: Ratio
    tests: pd.DataFrame
    components: pd.DataFrame
    factors: pd.DataFrame
    by_block: pd.DataFrame
    panel: Panel
    notes: tuple[str, ...]


def masks_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns 0 or 1 for every run and block of one model; runs without a pattern are missing.

    Raises:
        AnalysisError: No run has a pattern, or the runs are of models with different numbers of blocks.
    """
    known = runs["subset"].notna()
    lengths = sorted(runs.loc[known, "subset"].str.len().unique())
    if len(lengths) != 1:
        found = f"of {', '.join(map(str, lengths))} blocks" if lengths else "without removed blocks"
        raise AnalysisError(f"These runs are {found}, so patterns cannot be compared; take one model's runs.")
    bits = [[float(bit) for bit in subset] for subset in runs.loc[known, "subset"]]
    masks = pd.DataFrame(bits, index=runs.index[known], columns=range(lengths[0]))
    return masks.reindex(runs.index)


def decompose_patterns(results: Results, model: str, *, n_resamples: int = 500, seed: int = 0) -> Patterns:
    """Decomposes the removal patterns of one model over the swept grid.

    Args:
        results: The runs.
        model: One of their models; patterns of different models have no common blocks.
        n_resamples: Number of bootstrap resamples of whole draws.
        seed: Of resampling and permuting.

    Raises:
        AnalysisError: The model is unknown, or the cells do not allow it.
    """
    panel = _panel(results, model)
    rng = np.random.default_rng(seed)
    point = estimate(panel)
    centre, resamples = resample(panel, point, n_resamples, rng)
    resampled = Resampled(np.append(point.terms, point.seed), centre, resamples, point.degrees)
    label = {"unit": "blocks", "estimator": point.estimator}
    factors = factor_table(panel, resampled.point)
    factors["switch_difference"] = factors.pop("switch_rms") ** 2
    notes = [f"{point.estimator}: {point.bias}."] if point.bias else []
    return Patterns(
        model=model,
        headline=headline_table(panel, resampled).assign(**label),
        ratio=ratio(panel, resampled),
        tests=permutation_tests(panel, N_PERMUTATIONS, rng),
        components=component_table(panel.grid, resampled).assign(**label),
        factors=factors.assign(**label),
        by_block=_by_block(panel).assign(estimator=point.estimator),
        panel=panel,
        notes=(*panel.notes, *notes),
    )


def _panel(results: Results, model: str) -> Panel:
    runs = results.runs[~results.runs["is_dense"]]
    if model not in set(runs["model"]):
        raise AnalysisError(unknown_name("model", model, runs["model"].astype(str).unique()))
    own = runs[runs["model"] == model]
    return build_panel(own, masks_of(own).rename(columns={0: "removed blocks"}))


def _by_block(panel: Panel) -> pd.DataFrame:
    rows = []
    for block in range(panel.values.shape[1]):
        one = replace(panel, values=panel.values[:, block])
        point = estimate(one)
        values = quantities(one, np.append(point.terms, point.seed))
        rows.append(
            {"block": block, "removed": float(one.values.mean())} | {name: float(v) for name, v in values.items()}
        )
    return pd.DataFrame(rows)


def consensus(results: Results) -> pd.DataFrame:
    """Returns how alike patterns are: the mean Jaccard similarity of pairs of runs of one model and budget.

    Returns:
        One row per model, budget and kind of pair: `within calibration` (one draw, other searches), `within
        search` (one search, other configurations), `within configuration` (one search, another seed: the
        ceiling), and `difference`, the first minus the second. `jaccard` with `low` and `high` (jackknife over
        whole draws), `chance` for random sets of that size, `chance_removable` for sets of blocks that some
        run removed, `chance_shifted` for the same patterns shifted around, `corrected` = (jaccard − chance) /
        (1 − chance), `pairs` and `draws`.
    """
    runs = results.runs[~results.runs["is_dense"] & results.runs["subset"].notna()]
    rows = []
    for (model, budget), group in runs.groupby(["model", "budget"], observed=True):
        masks = masks_of(group).to_numpy()
        rows += [{"model": model, "budget": budget, **row} for row in _consensus_rows(group, masks)]
    return pd.DataFrame(rows)


def _consensus_rows(runs: pd.DataFrame, masks: Array) -> list[dict[str, object]]:
    shared = masks @ masks.T
    size = int(masks[0].sum())
    jaccard = shared / (2 * size - shared)
    same = {name: _same(runs[name]) for name in ("calib_config", "search", "calib_seed")}
    draws = pd.factorize(runs["calib_sample_id"].fillna(runs["draw_id"]), use_na_sentinel=False)[0]
    upper = np.triu(np.ones_like(jaccard, dtype=bool), 1)
    kinds = {
        "within calibration": upper & same["calib_config"] & same["calib_seed"] & ~same["search"],
        "within search": upper & same["search"] & ~same["calib_config"],
        "within configuration": upper & same["calib_config"] & same["search"] & ~same["calib_seed"],
    }
    chance = {
        "chance": chance_jaccard(masks.shape[1], size),
        "chance_removable": chance_jaccard(int(masks.any(axis=0).sum()), size),
        "chance_shifted": _shifted_jaccard(masks, np.random.default_rng(0)),
    }
    rows: list[dict[str, object]] = []
    for kind, pairs in kinds.items():
        if pairs.any():
            value, low, high = _jackknife(jaccard, [(pairs, 1.0)], draws)
            corrected = (value - chance["chance"]) / (1 - chance["chance"]) if chance["chance"] < 1 else np.nan
            counts = {"pairs": int(pairs.sum()), "draws": len(np.unique(draws))}
            row = {"kind": kind, "jaccard": value, "low": max(low, 0.0), "high": min(high, 1.0), **chance}
            rows.append(row | {"corrected": corrected} | counts)
    if len(rows) > 1 and rows[1]["kind"] == "within search":
        signed = [(kinds["within calibration"], 1.0), (kinds["within search"], -1.0)]
        value, low, high = _jackknife(jaccard, signed, draws)
        rows.append({"kind": "difference", "jaccard": value, "low": low, "high": high, "draws": len(np.unique(draws))})
    return rows


def _same(column: pd.Series) -> Array:
    codes = pd.factorize(column, use_na_sentinel=False)[0]
    same: Array = codes[:, None] == codes
    return same


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
    kept = without[np.isfinite(without)]
    n = len(kept)
    if n < 3:
        return float(point), np.nan, np.nan
    width = stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((kept - kept.mean()) ** 2).sum())
    return float(point), float(point - width), float(point + width)


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
        `model`, `budget`, `factor`, `level`, the mean symmetric difference [blocks] of two runs at that level,
        `low` and `high` (jackknife over whole draws), and the number of `distinct` patterns among `runs`.
    """
    runs = results.runs[~results.runs["is_dense"] & results.runs["subset"].notna()]
    rows = []
    for (model, budget), group in runs.groupby(["model", "budget"], observed=True):
        for factor in ("objective", "calib_dataset", "search"):
            for level, part in group.groupby(factor, observed=True):
                masks = masks_of(part).to_numpy()
                pairs = np.triu(np.ones((len(part), len(part)), dtype=bool), 1)
                if not pairs.any() or group[factor].nunique() < 2:
                    continue
                distance = 2 * (masks[0].sum() - masks @ masks.T)
                draws = pd.factorize(part["calib_sample_id"].fillna(part["draw_id"]), use_na_sentinel=False)[0]
                value, low, high = _jackknife(distance, [(pairs, 1.0)], draws)
                counts = {"distinct": part["subset"].nunique(), "runs": len(part)}
                row = {"model": model, "budget": budget, "factor": factor, "level": level}
                rows.append(row | {"difference": value, "low": low, "high": high} | counts)
    return pd.DataFrame(rows)
