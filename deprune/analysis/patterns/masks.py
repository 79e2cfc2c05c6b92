"""Which blocks go: the decomposition of removal patterns, and how alike they are.

With patterns as vectors of 0 and 1 the squared distance of two is the size of their symmetric difference, so
PERMANOVA on that distance is the sum over blocks of the ordinary decomposition of one block's column (McArdle and
Anderson 2001); no distance matrix is needed, and the estimators of scalars serve as they are.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.results import Results
from deprune.analysis.variance.decompose import Decomposed, tables
from deprune.analysis.variance.estimators import estimate
from deprune.analysis.variance.headline import quantities
from deprune.analysis.variance.intervals import resample
from deprune.analysis.variance.panel import Panel, build_panel
from deprune.core.errors import AnalysisError
from deprune.core.suggestions import unknown_name


@dataclass(frozen=True, kw_only=True)
class Patterns(Decomposed):
    """The decomposition of one model's removal patterns.

    Variances are sums over blocks of the variance of being removed, so half the mean symmetric difference of two runs
    taken at random. In place of `switch_rms`, `factors` has `switch_difference`, the mean symmetric difference [blocks]
    when that factor alone moves to another level. The tests are PERMANOVA.

    Attributes:
        model: The model.
        by_block: One row per block: `removed` share of runs, and the headline variances of that block alone.
    """

    model: str
    by_block: pd.DataFrame


def with_patterns(results: Results) -> pd.DataFrame:
    """Returns the pruned runs whose removed blocks are known."""
    return results.runs[~results.runs["is_dense"] & results.runs["subset"].notna()]


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
    return pd.DataFrame(bits, index=runs.index[known], columns=range(lengths[0])).reindex(runs.index)


def decompose_patterns(results: Results, model: str, *, n_resamples: int = 500, seed: int = 0) -> Patterns:
    """Decomposes the removal patterns of one model over the swept grid; those of two models have no common blocks.

    The bootstrap resamples whole draws; the seed is that of resampling and permuting.

    Raises:
        AnalysisError: The model is unknown, or the cells do not allow it.
    """
    runs = results.runs[~results.runs["is_dense"]]
    if model not in set(runs[design.MODEL]):
        raise AnalysisError(unknown_name("model", model, runs[design.MODEL].astype(str).unique()))
    own = runs[runs[design.MODEL] == model]
    panel = build_panel(own, masks_of(own).rename(columns={0: "removed blocks"}))
    rng = np.random.default_rng(seed)
    point = estimate(panel)
    resampled = resample(panel, point, n_resamples, rng)
    found = tables(panel, point, resampled, rng, {"unit": "blocks", "estimator": point.estimator})
    factors = found.pop("factors")
    factors.insert(5, "switch_difference", factors.pop("switch_rms") ** 2)
    notes = [note for note in (panel.holes, point.bias and f"{point.estimator}: {point.bias}.") if note]
    by_block = _by_block(panel).assign(estimator=point.estimator)
    return Patterns(model=model, **found, factors=factors, by_block=by_block, notes=(*panel.notes, *notes))


def _by_block(panel: Panel) -> pd.DataFrame:
    rows = []
    for block, column in enumerate(panel.values.T):
        point = estimate(replace(panel, values=column))
        values = quantities(panel, np.append(point.terms, point.seed))
        rows.append({"block": block, "removed": column.mean(), **values})
    return pd.DataFrame(rows)
