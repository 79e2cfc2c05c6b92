"""Files of a results folder as columns."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from deprune.core.errors import DataError, RecordError
from deprune.core.suggestions import unknown_name
from deprune.record.schema import RunRecord
from deprune.record.store import read_record

FACTORS = ("model", "budget", "calib_dataset", "objective", "calib_samples", "calib_seq_len", "search")
"""The factors of a sweep, in the order in which terms and tables name them."""

SCORE_FIELDS = (
    "task", "metric", "value", "stderr", "dense_value", "dense_stderr", "n_items", "item_set", "version",
    "higher_is_better",
)  # fmt: skip


SETTINGS = {"model": "model", "calib": "calib_dataset", "objective": "objective", "search": "search"}
"""Part of a record's identity -> the factor that it is the whole setting of."""

CHUNK = 2000
"""Records that are turned into columns at once: millions of scores as objects would need gigabytes."""

PARALLEL_FROM = 5 * CHUNK
"""Number of records from which on starting processes is worth it."""

DUPLICATE = "duplicate"
EXCLUDED = ("damaged", "other schema", DUPLICATE, "not done")

_score_of = operator.attrgetter(*SCORE_FIELDS)


def members_of(folder: Path, sweep: str) -> frozenset[str]:
    """Returns the runs of a sweep.

    Raises:
        DataError: There is no such sweep.
    """
    sweeps = folder / "sweeps"
    known = [entry.name for entry in sweeps.iterdir()] if sweeps.is_dir() else []
    if sweep not in known:
        raise DataError(unknown_name(f"sweep in {folder}", sweep, known))
    outcomes = (json.loads(path.read_text(encoding="utf-8")) for path in (sweeps / sweep).rglob("outcome.json"))
    return frozenset(outcome["run_id"] for outcome in outcomes if outcome.get("run_id"))


def record_files(folder: Path, name: str, members: frozenset[str] | None) -> list[Path]:
    """Returns the files of a name in the folders of runs, in the order of their ids.

    Raises:
        DataError: There is no folder of runs.
    """
    runs = folder / "runs"
    if not runs.is_dir():
        raise DataError(f"There are no runs in {folder}; give the results_dir of a sweep.")
    names = [entry.name for entry in os.scandir(runs)] if members is None else members
    return [path for run_id in sorted(names) if (path := runs / run_id / name).is_file()]


def read_records(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Reads records, on all cores where there are many.

    Returns:
        One row per usable run, one per run, task and metric, and one per record that was left out.
    """
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    if len(paths) < PARALLEL_FROM:
        tables = [_read_chunk(chunk) for chunk in chunks]
    else:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            tables = list(pool.map(_read_chunk, chunks))
    columns = ["run_id", "why", *FACTORS]
    left_out = pd.DataFrame([row for _, _, rows in tables for row in rows], columns=columns, dtype=object)
    tables = [table for table in tables if len(table[0])]
    if not tables:
        return pd.DataFrame(), pd.DataFrame(), left_out
    runs = pd.concat([runs for runs, _, _ in tables], ignore_index=True)
    scores = pd.concat([scores for _, scores, _ in tables], ignore_index=True)
    texts = ("run_id", "model", "subset_hash", "task", "metric", "item_set", "version")
    return runs, scores.astype(dict.fromkeys(texts, "category")), left_out


def _read_chunk(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]:
    runs: list[dict[str, Any]] = []
    scores: list[tuple[Any, ...]] = []
    left_out: list[dict[str, Any]] = []
    for path in paths:
        try:
            record = read_record(path)
        except RecordError as error:
            left_out.append(_left_out(path, "other schema" if error.__cause__ is None else "damaged"))
            continue
        except (TypeError, KeyError, OSError):
            left_out.append(_left_out(path, "damaged"))
            continue
        if record.run_id != path.parent.name:
            left_out.append(_left_out(path, DUPLICATE))  # a copy: the record of a run lies in the folder of its name
        elif record.status != "done":
            left_out.append(_left_out(path, "not done"))
        else:
            runs.append(_run_row(record))
            key = (record.run_id, record.model, record.subset_hash)
            scores += [(*key, *_score_of(row)) for row in record.metrics]
    columns = ["run_id", "model", "subset_hash", *SCORE_FIELDS]
    return pd.DataFrame(runs), pd.DataFrame(scores, columns=columns), left_out


def read_failures(folder: Path, members: frozenset[str] | None) -> pd.DataFrame:
    """Returns one row per job that failed and was not done later, with whatever its report says."""
    rows = []
    for path in record_files(folder, "failure.json", members):
        if (path.parent / "record.json").is_file():
            continue  # a later attempt succeeded
        content = _read_object(path) or {"reason": "the report of the failure is damaged"}
        said = {key: value for key, value in content.items() if key not in FACTORS}
        rows.append({**said, "run_id": path.parent.name} | _levels(content))
    columns = ["run_id", "exception", "reason", "phase", *FACTORS]
    failures = pd.DataFrame(rows, dtype=object)
    return failures.reindex(columns=list(dict.fromkeys([*columns, *failures.columns])))


def _left_out(path: Path, why: str) -> dict[str, Any]:
    return {"run_id": path.parent.name, "why": why} | _levels(_read_object(path))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def _levels(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the levels that a file of any version names, to tell which levels lack runs."""
    return {factor: level for factor in FACTORS if isinstance(level := content.get(factor), str | int)}


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
        **{f"settings:{part}": json.dumps(identity.get(key), sort_keys=True) for key, part in SETTINGS.items()},
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
