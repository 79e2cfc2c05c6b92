"""The headline under other readings of the same runs: does the answer hang on a choice of scale?"""

import math
from collections.abc import Iterator

import pandas as pd

from deprune.analysis.read.responses import LOGIT, without_diverged
from deprune.analysis.read.results import Results
from deprune.analysis.variance.decompose import ITEMS_SUBTRACTED, Decomposition, decompose
from deprune.core.errors import DepruneError


def sensitivity(results: Results, reported: Decomposition, n_resamples: int = 1000) -> pd.DataFrame:
    """Decomposes a response again in other ways.

    Shares are also taken on the logit scale, for percentage points are compressed near the floor and the ceiling,
    and on these very items; perplexities without the diverged runs.

    Args:
        results: The runs that were decomposed.
        reported: Their decomposition.
        n_resamples: As of `decompose`.

    Returns:
        `reading`, the shares within condition, `log_ratio` with `low` and `high`, the `verdict`, the `estimator`, and a
        `remark` where a reading cannot be had. The first row is what was reported; empty where there is no other.
    """
    rows = [_row("as reported", reported)]
    for reading, runs, name in _readings(results, reported):
        try:
            rows.append(_row(reading, decompose(runs, name, n_resamples=n_resamples)))
        except DepruneError as error:
            rows.append({"reading": reading, "remark": str(error)})
    return pd.DataFrame(rows) if len(rows) > 1 else pd.DataFrame()


def _readings(results: Results, reported: Decomposition) -> Iterator[tuple[str, Results, str]]:
    """Yields a reading, its runs, and the name of its response."""
    chosen, name = reported.response, reported.response.name
    if chosen.is_share and chosen.task is None:
        yield f"logit of {name}, chance level not taken off", results, LOGIT + name
    if reported.estimator.endswith(ITEMS_SUBTRACTED):
        yield "on these very items", results, name
    if chosen.diverged[reported.panel.rows.index].any():
        yield "without diverged runs", without_diverged(results, name), name


def _row(reading: str, found: Decomposition) -> dict[str, object]:
    shares = found.headline.set_index("quantity")["share_within"].drop("V_condition")
    ratio = found.ratio
    row: dict[str, object] = {"reading": reading}
    row |= {f"{name}_share_within": float(share) for name, share in shares.items()}
    row |= {"log_ratio": ratio.log, "low": ratio.low, "high": ratio.high, "verdict": ratio.verdict}
    return row | {"estimator": found.estimator, "remark": math.nan}
