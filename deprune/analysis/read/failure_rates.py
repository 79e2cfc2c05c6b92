"""What became of the jobs at each level of each factor: done, failed, stale, diverged."""

from collections import Counter

import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.records import DUPLICATE
from deprune.analysis.read.responses import response, response_names
from deprune.analysis.read.results import Results
from deprune.record.schema import LOG_PERPLEXITY

KINDS = ("done", "failed", "stale", "diverged")


def rates_by_level(results: Results) -> pd.DataFrame:
    """Counts jobs of pruned models by what became of them, in all and at every level of the factors that vary.

    Failures that spare one level and hit another bias every comparison between the two.

    Returns:
        `factor`, `level`, number of `jobs`, of which `done`, `failed` (without a record) and `stale` (with one that
        cannot be used: damaged, of another version, not done), and `diverged` among those done; `failed_share`,
        `stale_share` of jobs and `diverged_share` of those done. What does not say its level counts in all only.
    """
    frames, none = _jobs(results), pd.Series(dtype=object)
    rows = [_row("all", "", {kind: len(frame) for kind, frame in frames.items()})]
    for factor in design.factors_of(results.runs):
        counts = {kind: Counter(frame.get(factor, none).dropna().map(str)) for kind, frame in frames.items()}
        levels = _sorted(results.runs[factor], {level for of_kind in counts.values() for level in of_kind})
        if len(levels) > 1:
            rows += [_row(factor, level, {kind: counts[kind][level] for kind in KINDS}) for level in levels]
    return pd.DataFrame(rows)


def _jobs(results: Results) -> dict[str, pd.DataFrame]:
    done = results.runs[~results.runs["is_dense"]]
    diverged = done.iloc[:0]
    if LOG_PERPLEXITY in response_names(results):
        diverged = done[response(results, LOG_PERPLEXITY).diverged[done.index]]
    stale = results.left_out[results.left_out["why"] != DUPLICATE]
    lost = (frame[frame["budget"].map(str) != "0"] for frame in (results.failures, stale))
    return dict(zip(KINDS, (done, *lost, diverged), strict=True))


def _row(factor: str, level: str, counts: dict[str, int]) -> dict[str, object]:
    jobs = counts["done"] + counts["failed"] + counts["stale"]
    shares = {f"{kind}_share": counts[kind] / jobs if jobs else 0.0 for kind in ("failed", "stale")}
    shares["diverged_share"] = counts["diverged"] / counts["done"] if counts["done"] else 0.0
    return {"factor": factor, "level": level, "jobs": jobs, **counts, **shares}


def _sorted(column: pd.Series, levels: set[str]) -> list[str]:
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return sorted(levels, key=lambda level: (not level.isdecimal(), level.zfill(20)))
    return design.ordered_levels(str(column.name), levels, {level: i for i, level in enumerate(column.cat.categories)})
