"""Records as tidy tables: one row per run, and one row per run, task and metric.

This package reads what jobs leave behind and never imports torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from deprune.analysis.read.parquet import folder_of
from deprune.analysis.read.records import (
    EXCLUDED,
    FACTORS,
    SETTINGS,
    members_of,
    read_failures,
    read_records,
    record_files,
)
from deprune.core.errors import AnalysisError, DataError
from deprune.core.suggestions import unknown_name

log = logging.getLogger(__name__)

SEARCHES = (
    "dense", "random", "last", "angular", "shortgpt", "oneshot", "fast_block_select", "greedy", "beam", "local", "ga",
    "evopress", "bo", "cbo", "exhaustive",
)  # fmt: skip
"""Order of searches in tables and figures: by what they ask of the evaluator; others follow, by name."""

OBJECTIVES = ("nll", "kl", "task_margin", "task_error")

OWN_FACTORS = {"name", "n_samples", "seq_len", "seed"}
"""Settings that are factors of their own, or the label itself."""

CATEGORIES = ("model", "calib_dataset", "objective", "search", "calib_config", "status", "unit", "device")
DTYPES = {
    "n_blocks": "Int16", "budget": "Int16", "calib_samples": "Int32", "calib_seq_len": "Int32",
    "calib_tokens": "Int64", "calib_seed": "Int64", "search_seed": "Int64", "eval_limit": "Int64", "n_evals": "Int64",
    "block_calls": "Int64", "peak_memory_bytes": "Int64", "budget_frac": "float64", "calib_value": "float64",
    "calib_stderr": "float64", "calib_value_dense": "float64", "calib_accuracy": "float64",
    "calib_accuracy_dense": "float64", "accuracy": "float64", "accuracy_dense": "float64", "search_seconds": "float64",
    "is_dense": "bool", "racing": "bool",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a results folder holds, as tables.

    Attributes:
        runs: One row per run, indexed by `run_id`. Accuracies are in per cent, losses in `unit`;
            `subset` has one digit per block. Factors are categories, whose declared levels
            include those of failed jobs.
        scores: One row per run, task and metric; values as in the record (accuracies from 0 to 1,
            `log_perplexity` in nats per token; missing where the perplexity was not finite).
        excluded: Number of records left out, by reason: `damaged`, `other schema`, `duplicate`,
            `not done`, `failed`.
        failures: One row per failed job: its factors, exception and reason.
        left_out: One row per record that was left out: `why`, and its factors where it says them.
        folder: The results folder; None for tables that come from elsewhere.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    excluded: dict[str, int]
    failures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run_id", "reason", *FACTORS]))
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run_id", "why", *FACTORS]))
    folder: Path | None = None

    @property
    def summary(self) -> str:
        """One sentence: how many runs there are and what was left out."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.excluded.items() if count)
        return f"{len(self.runs)} runs read; left out: {left_out or 'nothing'}."

    def where(self, levels: Mapping[str, Any]) -> Results:
        """Returns the runs at given levels, such as `{"objective": "nll", "budget": [7, 9]}`.

        Raises:
            AnalysisError: A factor or a level does not exist.
        """
        runs, failures, left_out = self.runs, self.failures, self.left_out
        for factor, wanted in levels.items():
            if factor not in runs.columns:
                raise AnalysisError(unknown_name("column of runs", factor, runs.columns))
            chosen = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
            known = runs[factor].dropna().unique().tolist()
            for level in chosen:
                if level not in known:
                    raise AnalysisError(unknown_name(f"level of {factor}", str(level), map(str, known)))
            runs = runs[runs[factor].isin(chosen)]
            if factor in FACTORS:  # all that a job that was not done is sure to know of itself
                failures, left_out = (frame[frame[factor].isin(chosen)] for frame in (failures, left_out))
        scores = self.scores[self.scores["run_id"].isin(runs.index)]
        return replace(self, runs=runs, scores=scores, failures=failures, left_out=left_out)


def load(results_dir: Path | str, sweep: str | None = None, where: Mapping[str, Any] | None = None) -> Results:
    """Reads the records of a results folder.

    Args:
        results_dir: The folder that sweeps write to, or an archive of one (`deprune.archive`).
        sweep: Name of a folder below `sweeps/`; only its runs are read. By default all.
        where: Factor -> level or levels to keep.

    Raises:
        DataError: The folder or the sweep does not exist, or no record can be used.
        AnalysisError: `where` names something that does not exist.
    """
    folder = folder_of(Path(results_dir))
    members = None if sweep is None else members_of(folder, sweep)
    runs, scores, left_out = read_records(record_files(folder, "record.json", members))
    failures = read_failures(folder, members)
    counts = {why: int((left_out["why"] == why).sum()) for why in EXCLUDED} | {"failed": len(failures)}
    if runs.empty:
        why = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n) or "there are no records"
        raise DataError(f"No run in {folder} can be analysed ({why}); give the results_dir of a finished sweep.")
    runs = _with_categories(runs.set_index("run_id"), failures)
    results = Results(runs=runs, scores=scores, failures=failures, excluded=counts, left_out=left_out, folder=folder)
    log.info(results.summary)
    return results if where is None else results.where(where)


def _with_categories(runs: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs with typed columns; one name with two settings becomes two levels."""
    runs = runs.astype({name: dtype for name, dtype in DTYPES.items() if name in runs})
    for factor in SETTINGS.values():
        settings = runs.pop(f"settings:{factor}")
        runs[factor] = _distinct_labels(runs[factor], settings)
    parts = (runs[name].astype(str) for name in ("objective", "calib_dataset", "calib_samples", "calib_seq_len"))
    runs["calib_config"] = [f"{o} {d} n{n} L{length}" for o, d, n, length in zip(*parts, strict=True)]
    for name in CATEGORIES:
        is_factor = name in failures and name in FACTORS
        failed: Iterable[str] = failures[name].dropna().astype(str) if is_factor else ()
        runs[name] = pd.Categorical(runs[name], ordered_levels(name, {*runs[name].dropna(), *failed}))
    return runs


def ordered_levels(factor: str, levels: Iterable[str]) -> list[str]:
    """Returns the levels of a factor in the order in which tables and figures show them."""
    known: Sequence[str] = {"search": SEARCHES, "objective": OBJECTIVES}.get(factor, ())
    ranks = {name: rank for rank, name in enumerate(known)}
    return sorted(levels, key=lambda level: (ranks.get(level.split(" ")[0], len(ranks)), level))


def _distinct_labels(labels: pd.Series, settings: pd.Series) -> pd.Series:
    """Adds what differs to labels that stand for several settings, such as `beam` of two widths."""
    codes, distinct = pd.factorize(settings)
    names: list[str] = labels.iloc[pd.Series(codes).drop_duplicates().index].tolist()
    if len(set(names)) == len(names):
        return labels
    parsed = [{k: v for k, v in (json.loads(text) or {}).items() if k not in OWN_FACTORS} for text in distinct]
    new = []
    for code, name in enumerate(names):
        others = [parsed[c] for c, n in enumerate(names) if n == name]
        differing = [k for k in sorted(parsed[code]) if any(o.get(k) != parsed[code][k] for o in others)]
        new.append(" ".join([name, *(f"{k}={parsed[code][k]}" for k in differing)]))
    return pd.Series([new[code] for code in codes], index=labels.index)
