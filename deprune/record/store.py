"""The folder of runs: records and failures as files."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from deprune.core.errors import RecordError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import file_name_of
from deprune.record import legacy
from deprune.record.schema import FAILURE_SCHEMA_VERSION, SCHEMA_VERSION, FailureRecord, RunRecord

WAY_OUT = "delete it and run the job again"


class ResultStore:
    """The folder of runs: `<results_dir>/runs/<run_id>/record.json`, or `failure.json` where a run failed."""

    def __init__(self, results_dir: Path) -> None:
        self._runs = results_dir / "runs"

    def path(self, run_id: str) -> Path:
        """Returns where the record of a run lies."""
        return self._runs / file_name_of(run_id) / "record.json"

    def get(self, run_id: str) -> RunRecord | None:
        """Returns the record of a run, or None where there is none.

        Raises:
            RecordError: There is a file, but it is not a record of a known version.
        """
        path = self.path(run_id)
        return read_record(path) if path.is_file() else None

    def records(self) -> Iterator[RunRecord]:
        """Yields all records, in the order of their run ids.

        Raises:
            RecordError: A file is not a record of a known version.
        """
        for path in sorted(self._runs.glob("*/record.json")):
            yield read_record(path)

    def put(self, record: RunRecord) -> Path:
        """Writes a record and returns its path."""
        path = self.path(record.run_id)
        write_atomically(path, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")
        self._failure_path(record.run_id).unlink(missing_ok=True)
        return path

    def failure(self, run_id: str) -> FailureRecord | None:
        """Returns why a run failed, or None where it did not, or nothing that can be read says so."""
        try:
            return read_failure(self._failure_path(run_id))
        except (FileNotFoundError, RecordError):
            return None

    def put_failure(self, failure: FailureRecord) -> Path:
        """Writes why a run failed, until `put` replaces it, and returns the path."""
        path = self._failure_path(failure.run_id)
        write_atomically(path, json.dumps(asdict(failure), indent=1) + "\n")
        return path

    def _failure_path(self, run_id: str) -> Path:
        return self.path(run_id).with_name("failure.json")


def read_record(path: Path) -> RunRecord:
    """Reads a record, also one of schema 2.

    Raises:
        RecordError: The file is not a record of a version that is known.
    """
    return _read(path, _RUN_RECORD, SCHEMA_VERSION, {legacy.VERSION: legacy.upgraded})


def read_failure(path: Path) -> FailureRecord:
    """Reads the record of a failure.

    Raises:
        FileNotFoundError: There is none.
        RecordError: The file is not a record of this version.
    """
    return _read(path, _FAILURE_RECORD, FAILURE_SCHEMA_VERSION, {})


T = TypeVar("T", RunRecord, FailureRecord)

_RUN_RECORD, _FAILURE_RECORD = TypeAdapter(RunRecord), TypeAdapter(FailureRecord)

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def _read(path: Path, schema: TypeAdapter[T], version: int, upgrades: Mapping[int, Upgrade]) -> T:
    text = path.read_bytes()
    try:
        record = schema.validate_json(text)
    except ValidationError as error:
        content = _content(text)
        found = content.get("schema_version")
        if isinstance(found, int) and found in upgrades:
            return _upgraded(path, schema, upgrades[found], content)
        if found is None or found == version:
            raise RecordError(f"The record {path} is damaged ({_fault(error)}); {WAY_OUT}.") from error
    else:
        found = record.schema_version
        if found == version:
            return record
    raise RecordError(
        f"The record {path} has schema version {found}, but this deprune reads version {version}; use another "
        f"results_dir, or {WAY_OUT}."
    )


def _upgraded(path: Path, schema: TypeAdapter[T], upgrade: Upgrade, content: dict[str, Any]) -> T:
    try:
        return schema.validate_json(json.dumps(upgrade(content)))
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
        fault = _fault(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise RecordError(f"The record {path} is damaged ({fault}); {WAY_OUT}.") from error


def _content(text: bytes) -> dict[str, Any]:
    """Returns what a file says; nothing where it cannot be read."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _fault(error: ValidationError) -> str:
    """Returns the first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join([*map(str, first["loc"]), first["msg"]])
