"""All records of a results folder, and the answers behind their scores, as one Parquet file.

pandas and pyarrow read it as a table of one row per run; the analysis reads it as a folder.
Failures, the evaluations behind optimality gaps, and the names of sweeps are not in it.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deprune.core.errors import DataError
from deprune.core.fingerprint import file_name_of
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore

SUFFIX = ".parquet"

JSON_FIELDS = ("identity", "trace", "efficiency", "warnings", "stores", "measured", "environment")
"""Fields that are JSON texts in the table; the others are columns of their type."""

ANSWERS = "downstream"
"""The column with the file of scores of a run's pruned model, which runs with the same subset share."""

DICTIONARY_BYTES = 1 << 26
"""Size up to which a column's repeated values are stored once."""


def pack(results_dir: Path, file: Path) -> int:
    """Writes the records of a folder to a Parquet file, and returns their number.

    Raises:
        DataError: There are none, or the file cannot be written.
    """
    records = sorted(ResultStore(results_dir).records(), key=lambda record: record.run_id)
    if not records:
        raise DataError(f"There are no runs in {results_dir}; give the results_dir of a sweep.")
    rows = [_row(record) | {ANSWERS: _answers(results_dir, record)} for record in records]
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.Table.from_pylist(rows),
            unfinished,
            compression="zstd",
            compression_level=19,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
        )
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise DataError(
            f"The archive {file} cannot be written: {error.strerror or error}; give another file."
        ) from error
    return len(records)


def unpack(file: Path, results_dir: Path) -> None:
    """Writes the records of a Parquet file, and the answers behind them, as a results folder.

    Raises:
        DataError: The file is not what `pack` writes.
    """
    try:
        for row in pq.read_table(file).to_pylist():
            answers = row.pop(ANSWERS)
            record = row | {name: json.loads(row[name]) for name in JSON_FIELDS}
            _write(ResultStore(results_dir).path(record["run_id"]), json.dumps(record, indent=1) + "\n")
            if answers is not None:
                _write(_answers_path(results_dir, record["stores"], record["subset"]), answers)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not an archive of records ({error}); give a results folder, or another file."
        ) from error


def folder_of(results: Path) -> Path:
    """Returns a results folder: the one given, or that which an archive holds, unpacked for as long as this runs.

    Raises:
        DataError: The file is not an archive of records.
    """
    if results.suffix != SUFFIX or not results.is_file():
        return results
    return Path(_unpacked(results.absolute(), results.stat().st_mtime_ns).name)


@functools.lru_cache(maxsize=4)
def _unpacked(file: Path, modified: int) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="deprune-")
    unpack(file, Path(folder.name))
    return folder


def _row(record: RunRecord) -> dict[str, Any]:
    row = asdict(record)
    return row | {name: json.dumps(row[name]) for name in JSON_FIELDS}


def _answers_path(results_dir: Path, stores: dict[str, str], subset: str) -> Path:
    return results_dir / "downstream" / file_name_of(stores["downstream"]) / f"{file_name_of(subset)}.json"


def _answers(results_dir: Path, record: RunRecord) -> str | None:
    path = _answers_path(results_dir, record.stores, record.subset)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
