"""Records as tidy tables: one row per run, and one row per run, task and metric.

This package reads what jobs leave behind and never imports torch.
"""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from deprune.errors import AnalysisError, DataError, RecordError
from deprune.nearest import unknown_name
from deprune.record import RunRecord, read_record

log = logging.getLogger(__name__)

SEARCHES = (
    "dense", "random", "last", "angular", "shortgpt", "oneshot", "fast_block_select", "greedy", "beam", "local", "ga",
    "evopress", "bo", "cbo", "exhaustive",
)  # fmt: skip
"""Order of searches in tables and figures: by what they ask of the evaluator; others follow, by name."""

OBJECTIVES = ("nll", "kl", "task_margin", "task_error")

FACTORS = ("model", "budget", "calib_dataset", "objective", "calib_samples", "calib_seq_len", "search")
"""The factors of a sweep, in the order in which terms and tables name them."""

CATEGORIES = ("model", "calib_dataset", "objective", "search", "calib_config", "status", "unit", "device")
DTYPES = {
    "n_blocks": "Int16", "budget": "Int16", "calib_samples": "Int32", "calib_seq_len": "Int32",
    "calib_tokens": "Int64", "calib_seed": "Int64", "search_seed": "Int64", "eval_limit": "Int64", "n_evals": "Int64",
    "block_calls": "Int64", "peak_memory_bytes": "Int64", "budget_frac": "float64", "calib_value": "float64",
    "calib_stderr": "float64", "calib_value_dense": "float64", "calib_accuracy": "float64",
    "calib_accuracy_dense": "float64", "accuracy": "float64", "accuracy_dense": "float64", "search_seconds": "float64",
    "is_dense": "bool", "racing": "bool",
}  # fmt: skip
SCORE_FIELDS = (
    "task", "metric", "value", "stderr", "dense_value", "dense_stderr", "n_items", "item_set", "version",
    "higher_is_better",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a results folder holds, as tables.

    Attributes:
        runs: One row per run, indexed by `run_id`. Accuracies are in per cent, losses in `unit`;
            `subset` has one digit per block. Factors are categories, whose declared levels
            include those of failed jobs.
        scores: One row per run, task and metric; values as in the record (accuracies from 0 to 1,
            `log_perplexity` in nats per token; missing where the perplexity was not finite).
        failures: One row per failed job: its factors, exception and reason.
        excluded: Number of records left out, by reason: `damaged`, `other schema`, `duplicate`,
            `not done`, `failed`.
        folder: The results folder; None for tables that come from elsewhere.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    failures: pd.DataFrame
    excluded: dict[str, int]
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
        runs = self.runs
        for factor, wanted in levels.items():
            if factor not in runs.columns:
                raise AnalysisError(unknown_name("column of runs", factor, runs.columns))
            chosen = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
            known = runs[factor].dropna().unique().tolist()
            for level in chosen:
                if level not in known:
                    raise AnalysisError(unknown_name(f"level of {factor}", str(level), map(str, known)))
            runs = runs[runs[factor].isin(chosen)]
        return replace(self, runs=runs, scores=self.scores[self.scores["run_id"].isin(runs.index)])


def load(results_dir: Path | str, sweep: str | None = None, where: Mapping[str, Any] | None = None) -> Results:
    """Reads the records of a results folder.

    Args:
        results_dir: The folder that sweeps write to.
        sweep: Name of a folder below `sweeps/`; only its runs are read. By default all.
        where: Factor -> level or levels to keep.

    Raises:
        DataError: The folder or the sweep does not exist, or no record can be used.
        AnalysisError: `where` names something that does not exist.
    """
    folder = Path(results_dir)
    members = None if sweep is None else _members(folder, sweep)
    records, excluded = _read_records(folder, members)
    failures = _read_failures(folder, members)
    excluded["failed"] = len(failures)
    runs, scores = _tables(records)
    if runs.empty:
        counts = ", ".join(f"{n} {reason}" for reason, n in excluded.items() if n) or "there are no records"
        raise DataError(f"No run in {folder} can be analysed ({counts}); give the results_dir of a finished sweep.")
    results = Results(
        runs=_with_categories(runs, failures), scores=scores, failures=failures, excluded=excluded, folder=folder
    )
    log.info(results.summary)
    return results if where is None else results.where(where)


def _members(folder: Path, sweep: str) -> frozenset[str]:
    sweeps = folder / "sweeps"
    known = [entry.name for entry in sweeps.iterdir()] if sweeps.is_dir() else []
    if sweep not in known:
        raise DataError(unknown_name(f"sweep in {folder}", sweep, known))
    outcomes = (json.loads(path.read_text(encoding="utf-8")) for path in (sweeps / sweep).rglob("outcome.json"))
    return frozenset(outcome["run_id"] for outcome in outcomes if outcome.get("run_id"))


def _files(folder: Path, name: str, members: frozenset[str] | None) -> list[Path]:
    runs = folder / "runs"
    if not runs.is_dir():
        raise DataError(f"There are no runs in {folder}; give the results_dir of a sweep.")
    names = [entry.name for entry in os.scandir(runs)] if members is None else members
    return [path for run_id in sorted(names) if (path := runs / run_id / name).is_file()]


def _read_records(folder: Path, members: frozenset[str] | None) -> tuple[Iterator[RunRecord], dict[str, int]]:
    """Returns the usable records, and the counts of the others, which fill as the former are read."""
    excluded = dict.fromkeys(("damaged", "other schema", "duplicate", "not done"), 0)
    paths = _files(folder, "record.json", members)

    def records() -> Iterator[RunRecord]:
        seen: set[str] = set()
        for path in paths:
            try:
                record = read_record(path)
            except RecordError as error:
                excluded["other schema" if error.__cause__ is None else "damaged"] += 1
                continue
            except (TypeError, KeyError, OSError):
                excluded["damaged"] += 1
                continue
            if record.run_id in seen:
                excluded["duplicate"] += 1
            elif record.status != "done":
                excluded["not done"] += 1
            else:
                seen.add(record.run_id)
                yield record

    return records(), excluded


def _read_failures(folder: Path, members: frozenset[str] | None) -> pd.DataFrame:
    rows = []
    for path in _files(folder, "failure.json", members):
        if (path.parent / "record.json").is_file():
            continue  # a later attempt succeeded
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError):
            content = {"reason": "the report of the failure is damaged"}
        if not isinstance(content, dict):
            content = {"reason": "the report of the failure is damaged"}
        rows.append({"run_id": path.parent.name, **content})
    columns = ["run_id", "exception", "reason", "phase", *FACTORS]
    failures = pd.DataFrame(rows)
    return failures.reindex(columns=list(dict.fromkeys([*columns, *failures.columns])))


def _tables(records: Iterable[RunRecord]) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs: defaultdict[str, list[Any]] = defaultdict(list)
    scores: defaultdict[str, list[Any]] = defaultdict(list)
    for record in records:
        for name, value in _run_row(record).items():
            runs[name].append(value)
        for row in record.metrics:
            scores["run_id"].append(record.run_id)
            scores["model"].append(record.model)
            scores["subset_hash"].append(record.subset_hash)
            for name in SCORE_FIELDS:
                scores[name].append(getattr(row, name))
    frame = pd.DataFrame(runs)
    long = pd.DataFrame(scores, columns=["run_id", "model", "subset_hash", *SCORE_FIELDS])
    texts = ["run_id", "model", "subset_hash", "task", "metric", "item_set", "version"]
    long = long.astype({name: "category" for name in texts} | {"n_items": "Int32"})
    return (frame.set_index("run_id") if len(frame) else frame), long


def _run_row(record: RunRecord) -> dict[str, Any]:
    identity, measured = record.identity, record.measured
    return {
        "run_id": record.run_id,
        "model": record.model,
        "model_revision": record.model_revision,
        "n_blocks": record.n_blocks,
        "budget": record.budget,
        "budget_frac": record.budget_frac,
        "calib_dataset": record.calib_dataset,
        "objective": record.objective,
        "calib_samples": record.calib_samples,
        "calib_seq_len": record.calib_seq_len,
        "calib_tokens": record.calib_tokens,
        "calib_config": record.calib_config,
        "calib_seed": record.calib_seed,
        "calib_sample_id": record.calib_sample_id,
        "draw_id": record.draw_id,
        "search": record.search,
        "search_seed": record.search_seed,
        "is_dense": record.is_dense,
        "status": record.status,
        "subset": record.subset,
        "subset_hash": record.subset_hash,
        "unit": record.unit,
        "calib_value": record.calib_value,
        "calib_stderr": record.calib_stderr,
        "calib_value_dense": record.calib_value_dense,
        "calib_accuracy": _percent(record.calib_accuracy),
        "calib_accuracy_dense": _percent(record.calib_accuracy_dense),
        "accuracy": _percent(record.accuracy),
        "accuracy_dense": _percent(record.accuracy_dense),
        "n_evals": record.n_evals,
        "block_calls": measured.get("evaluations", {}).get("block_calls"),
        "search_seconds": measured.get("seconds", {}).get("search"),
        "peak_memory_bytes": measured.get("peak_memory_bytes"),
        "device": record.environment.get("device"),
        "racing": record.racing,
        "warnings": "\n".join(record.warnings),
        "eval_limit": (identity.get("eval") or {}).get("limit"),
        "downstream_folder": record.stores.get("downstream"),
        **{f"settings:{part}": json.dumps(identity.get(key), sort_keys=True) for key, part in _SETTINGS.items()},
    }


_SETTINGS = {"model": "model", "calib": "calib_dataset", "objective": "objective", "search": "search"}
"""Part of a record's identity -> the factor that it is the whole setting of."""

_OWN_FACTORS = {"name", "n_samples", "seq_len", "seed"}
"""Settings that are factors of their own, or the label itself."""


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _with_categories(runs: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs with typed columns; one name with two settings becomes two levels."""
    runs = runs.astype({name: dtype for name, dtype in DTYPES.items() if name in runs})
    for factor in _SETTINGS.values():
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
    names: list[str] = labels[pd.Series(codes).drop_duplicates().index].tolist()
    if len(set(names)) == len(names):
        return labels
    parsed = [{k: v for k, v in (json.loads(text) or {}).items() if k not in _OWN_FACTORS} for text in distinct]
    new = []
    for code, name in enumerate(names):
        others = [parsed[c] for c, n in enumerate(names) if n == name]
        differing = [k for k in sorted(parsed[code]) if any(o.get(k) != parsed[code][k] for o in others)]
        new.append(" ".join([name, *(f"{k}={parsed[code][k]}" for k in differing)]))
    return pd.Series([new[code] for code in codes], index=labels.index)
