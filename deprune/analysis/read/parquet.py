"""All records of a results folder, and the answers behind their scores, as one Parquet file.

pandas and pyarrow read it as a table of one row per run; the analysis reads it as a folder.
Failures, the evaluations behind optimality gaps, and the names of sweeps are not in it.
"""

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
from deprune.record.columns import columns_of
from deprune.record.legacy import upgraded
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore

RECORD = "record"
"""The column with the text of a record; the others are there for reading, and are those of the table of runs."""

JSON_FIELDS = ("identity", "trace", "efficiency", "warnings", "stores", "measured", "environment")
"""Fields that are JSON texts in archives of schema 2, which have a column for each field of a record."""

ANSWERS = "downstream"
"""The column with the file of scores of a run's pruned model, which runs with the same subset share."""


def pack(results_dir: Path, file: Path) -> int:
    """Writes the records of a folder to a Parquet file, and returns their number.

    Raises:
        DataError: There are none, or the file cannot be written.
    """
    records = sorted(ResultStore(results_dir).records(), key=lambda record: record.run_id)
    if not records:
        raise DataError(f"There are no runs in {results_dir}; give the results_dir of a sweep.")
    rows = [columns_of(r) | {RECORD: json.dumps(asdict(r)), ANSWERS: _answers(results_dir, r)} for r in records]
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    repeated = 1 << 26  # bytes up to which a column's repeated values are stored once
    packing = {"compression": "zstd", "compression_level": 19, "dictionary_pagesize_limit": repeated}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), unfinished, **packing)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        why = f"The archive {file} cannot be written: {error.strerror or error}; give another file."
        raise DataError(why) from error
    return len(records)


def unpack(file: Path, results_dir: Path) -> None:
    """Writes the records of a Parquet file, and the answers behind them, as a results folder.

    Raises:
        DataError: The file is not what `pack` writes, or wrote for records of schema 2.
    """
    try:
        for row in pq.read_table(file).to_pylist():
            answers = row.pop(ANSWERS)
            record = json.loads(row[RECORD]) if RECORD in row else _of_schema_2(row)
            _write(ResultStore(results_dir).path(record["run_id"]), json.dumps(record, indent=1) + "\n")
            if answers is not None:
                _write(answers_path(results_dir, record["provenance"]["stores"]["downstream"]), answers)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        why = f"{file} is not an archive of records ({error}); give a results folder, or another file."
        raise DataError(why) from error


def folder_of(results: Path) -> Path:
    """Returns a results folder: the one given, or that which an archive holds, unpacked for as long as this runs.

    Raises:
        DataError: The file is not an archive of records.
    """
    if results.suffix != ".parquet" or not results.is_file():
        return results
    return Path(_unpacked(results.absolute(), results.stat().st_mtime_ns).name)


@functools.lru_cache(maxsize=4)
def _unpacked(file: Path, modified: int) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="deprune-")
    unpack(file, Path(folder.name))
    return folder


def _of_schema_2(row: dict[str, Any]) -> dict[str, Any]:
    return upgraded(row | {name: json.loads(row[name]) for name in JSON_FIELDS})


def answers_path(results_dir: Path, name: str) -> Path:
    """Returns the file of scores that a record names, which lies below the results folder whatever the name is."""
    return results_dir.joinpath(ANSWERS, *map(file_name_of, name.split("/")))


def _answers(results_dir: Path, record: RunRecord) -> str | None:
    path = answers_path(results_dir, record.provenance.stores.get(ANSWERS, ""))
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
