"""Do perplexity and accuracy agree on which search is best? Rank correlations with exact permutation p values."""

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis import design
from deprune.analysis.adjust import benjamini_hochberg, holm, with_adjusted
from deprune.analysis.read.responses import measured
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array
from deprune.record.schema import ACCURACY, LOG_PERPLEXITY

MAX_EXACT = 8  # up to this many items all orders are tried (40,320); beyond, a random sample of them
N_RANDOM = 19_999


@cache
def _orders(n: int) -> tuple[Array, bool]:
    if n <= MAX_EXACT:
        return np.array(list(itertools.permutations(range(n)))), True
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(n), (N_RANDOM, 1)), axis=1), False


def rank_correlation(first: Sequence[float], second: Sequence[float], kind: str = "spearman") -> tuple[float, float]:
    """Returns a rank correlation, `spearman` or `kendall` (tau-b), and its two-sided permutation p value.

    The p value is the share of all orders whose coefficient is as far from zero, ties having middle ranks; it is exact
    up to `MAX_EXACT` items. Both are NaN where one of the two is constant or there are fewer than three items.
    """
    x, y = stats.rankdata(first), stats.rankdata(second)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan
    orders, exact = _orders(len(x))
    observed, coefficients = _coefficients(x, y, orders, kind)
    # Equal coefficients may differ in the last digits.
    as_far = int((np.abs(coefficients) >= abs(observed) - 1e-9).sum())
    return observed, as_far / len(orders) if exact else (as_far + 1) / (len(orders) + 1)


def correlations(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Returns both coefficients, `spearman` and `kendall`, with their p values."""
    found = {kind: rank_correlation(first.tolist(), second.tolist(), kind) for kind in ("spearman", "kendall")}
    return {name: value for kind, (rho, p) in found.items() for name, value in ((kind, rho), (f"p_{kind}", p))}


def _coefficients(x: Array, y: Array, orders: Array, kind: str) -> tuple[float, Array]:
    """Returns the correlation of ranks, and those with y in other orders: cosines of differences or deviations."""
    one, others = x, np.stack([y, *y[orders]])
    if kind == "kendall":
        first, second = np.triu_indices(len(x), 1)
        one, others = (np.sign(ranks[..., first] - ranks[..., second]) for ranks in (one, others))
    else:
        one, others = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (one, others))
    cosines = others @ one / math.sqrt(float((one**2).sum() * (others[0] ** 2).sum()))
    return float(cosines[0]), cosines[1:]


def perplexity_against_accuracy(
    results: Results, perplexity: str = LOG_PERPLEXITY, accuracy: str = ACCURACY, *, drop_copies: bool = False
) -> pd.DataFrame:
    """Ranks the searches of every condition by both responses (rank 1 is best) and correlates the ranks.

    In place of perplexity any response serves that is better when lower. With `drop_copies`, searches that found the
    same subset count once.

    Returns:
        One row per model, budget and calibration configuration: number of `searches` and of `distinct`
        subsets, `spearman` and `kendall` with exact `p_spearman` and `p_kendall`, `p_holm`, Spearman's over all
        conditions, and for both responses the `variance_` between the ranked means with what of it is `noise_` of
        draws (missing for one seed). Seeds are averaged before ranking.
    """
    rows = []
    for key, group, means in _conditions(results, perplexity, accuracy):
        ranked = means[~means["is_copy"]] if drop_copies else means
        row = key | {"searches": len(means), "distinct": int((~means["is_copy"]).sum())}
        row |= correlations(ranked["lower"], -ranked["higher"])
        for name, column in (("perplexity", "lower"), ("accuracy", "higher")):
            of_ranked = group[group[design.SEARCH].isin(ranked.index)]
            row[f"variance_{name}"], row[f"noise_{name}"] = variance_and_noise(of_ranked, column)
        rows.append(row)
    return with_adjusted(pd.DataFrame(rows), "p_spearman", "p_holm", holm)


def variance_and_noise(runs: pd.DataFrame, response: str) -> tuple[float, float]:
    """Returns the variance between the searches' means over seeds, and what of it is noise of draws.

    What a draw does to all searches alike is in neither: the noise is the mean square of search × seed. NaN unless two
    searches or more have the same two seeds or more.
    """
    table = runs.pivot_table(response, design.SEARCH, design.SEED, observed=True).dropna().to_numpy()
    n_searches, n_seeds = table.shape
    if n_searches < 2 or n_seeds < 2:
        return math.nan, math.nan
    means = table.mean(axis=1)
    rest = table - means[:, None] - table.mean(axis=0) + table.mean()
    return float(means.var(ddof=1)), float((rest**2).sum()) / ((n_searches - 1) * (n_seeds - 1)) / n_seeds


def ceiling(ranks: pd.DataFrame) -> float:
    """Returns the correlation that the noise of draws would leave of a perfect one, pooled over conditions.

    It is the root of the product of the two reliabilities, each 1 − noise / variance (Spearman's attenuation), from the
    table of `perplexity_against_accuracy`. Single conditions have too few searches for it. NaN without two seeds.
    """
    if "noise_accuracy" not in ranks:
        return math.nan
    sums = ranks.filter(regex="^(variance|noise)_").dropna().sum()
    pairs = [(sums[f"variance_{name}"], sums[f"noise_{name}"]) for name in ("perplexity", "accuracy")]
    reliabilities = (max(1 - noise / variance, 0.0) if variance > 0 else math.nan for variance, noise in pairs)
    return math.sqrt(math.prod(reliabilities))


def _conditions(
    results: Results, perplexity: str, accuracy: str
) -> Iterator[tuple[dict[str, Hashable], pd.DataFrame, pd.DataFrame]]:
    """Yields a condition, its runs, and their means by search with whether another found the same subsets."""
    frame = measured(results, lower=perplexity, higher=accuracy)
    within = design.configurations(frame)
    for key, group in frame.groupby(within, observed=True):
        by_search = group.groupby(design.SEARCH, observed=True)
        found = by_search["subset"].agg(lambda subsets: " ".join(sorted(subsets.dropna())))
        is_copy = (found != "") & found.duplicated()
        yield dict(zip(within, key, strict=True)), group, by_search[["lower", "higher"]].mean().assign(is_copy=is_copy)


def mean_rank_correlation(results: Results) -> tuple[float, float]:
    """Returns `mean_correlation` of perplexity and accuracy over conditions, equal subsets counting once."""
    conditions = (means[~means["is_copy"]] for *_, means in _conditions(results, LOG_PERPLEXITY, ACCURACY))
    return mean_correlation([(m["lower"].tolist(), (-m["higher"]).tolist()) for m in conditions if len(m) > 2])


def mean_correlation(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0) -> tuple[float, float]:
    """Returns the mean Spearman coefficient over conditions, with a p value from permuting each on its own.

    Counting signs or p values would lose what this keeps: the size of every coefficient.
    """
    rng = np.random.default_rng(seed)
    observed, total = [], np.zeros(N_RANDOM)
    for x, y in ((stats.rankdata(first), stats.rankdata(second)) for first, second in pairs):
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            orders = rng.permuted(np.tile(np.arange(len(y)), (N_RANDOM, 1)), axis=1)
            rho, coefficients = _coefficients(x, y, orders, "spearman")
            observed.append(rho)
            total += coefficients
    if not observed:
        return math.nan, math.nan
    mean = float(np.mean(observed))
    as_far = int((np.abs(total / len(observed)) >= abs(mean) - 1e-9).sum())
    return mean, (as_far + 1) / (N_RANDOM + 1)


def agreement_between_calibrations(results: Results, name: str) -> pd.DataFrame:
    """Correlates the ranks of searches by a response between every two calibration configurations of a condition.

    Returns:
        The condition (`model`, `budget`), `first`, `second`, number of `searches` in both, `spearman`, its exact `p`,
        and `p_adjusted` (Benjamini-Hochberg over the table).
    """
    frame = measured(results, value=name)
    rows, within = [], design.conditions(frame)
    for key, group in frame.groupby(within, observed=True):
        wide = group.groupby([design.SEARCH, design.CONFIGURATION], observed=True)["value"].mean().unstack()
        for first, second in itertools.combinations(wide.columns, 2):
            both = wide[[first, second]].dropna()
            rho, p = rank_correlation(both[first].tolist(), both[second].tolist())
            rows.append((*key, first, second, len(both), rho, p))
    table = pd.DataFrame(rows, columns=[*within, "first", "second", "searches", "spearman", "p"])
    return with_adjusted(table, "p", "p_adjusted", benjamini_hochberg)
