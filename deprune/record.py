"""The record of one run: everything that the analysis needs, in one immutable JSON file.

This module and `deprune.subset` are all that the analysis may import; no torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from deprune.errors import RecordError
from deprune.files import write_atomically
from deprune.fingerprint import file_name_of

SCHEMA_VERSION = 2

FAILURE_SCHEMA_VERSION = 1

WAY_OUT = "delete it and run the job again"

STRICT = ConfigDict(strict=True, extra="forbid")
"""A file is a record only if every field is there, of its type, and no other."""


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One score of the pruned model beside the dense one's.

    Attributes:
        value: Null where a perplexity is not finite.
        stderr: Standard error over items.
        item_set: Hash of the items; only scores on the same items may be compared.
        version: Version of the task's definition.
    """

    task: str
    metric: str
    value: float | None
    stderr: float
    dense_value: float
    dense_stderr: float
    n_items: int
    item_set: str
    version: str
    higher_is_better: bool


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: Hash of `identity`.
        identity: The resolved scientific configuration: what the result is a function of.
        model_path: Repository or embedded family; null for a local folder, whose place is nobody's business.
        model_revision: Commit on the Hub, or a hash of the files of a folder.
        budget: Number of blocks removed.
        calib_config: Joint label of objective, corpus, sample count and length.
        calib_tokens: Number of tokens in the calibration set.
        calib_sample_id: Identity of the calibration draw: the unit of resampling.
        calib_token_hash: Hash of the calibration tokens.
        draw_id: The draw within its model, as mixed models use it.
        search_seed: Null where the search is deterministic.
        subset: One digit per block, `1` where it is removed.
        removed: The removed blocks, in the order in which they went.
        calib_value: Objective of the pruned model on the calibration set.
        calib_stderr: Its standard error over calibration samples.
        calib_value_dense: Objective of the dense model on the same set.
        trace: Improvements during the search: evaluations, blocks removed, loss, subset.
        n_evals: Losses that the search asked for.
        racing: Whether candidates were dropped by a statistical test during the search.
        calib_accuracy: Accuracy of the pruned model on the calibration items, where these are items.
        calib_accuracy_dense: That of the dense model on the same items.
        metrics: Scores of the pruned and the dense model: accuracies of tasks (`acc`, `acc_norm`)
            and `log_perplexity` [nat/token] of held-out corpora, whose items are windows.
        accuracy: Mean of the tasks' accuracies, each task counting the same.
        accuracy_dense: The same of the dense model.
        efficiency: Parameters and FLOPs per token, pruned and dense.
        warnings: What a reader of the numbers must know, such as calibration data in the evaluation data.
        stores: Where below the results folder the details lie: the folders of `evaluations/` and
            `downstream/`, and the name of the calibration samples in the former.
        measured: Seconds by phase, evaluations remembered and computed, peak memory, time of
            writing: what differs between two runs of the same configuration.
        environment: Versions, device, and the state of the code.
    """

    schema_version: int
    run_id: str
    identity: dict[str, Any]
    model: str
    model_path: str | None
    model_revision: str
    n_blocks: int
    calib_dataset: str
    calib_config: str
    calib_samples: int
    calib_seq_len: int
    calib_tokens: int
    calib_seed: int
    calib_sample_id: str
    calib_token_hash: str
    draw_id: str
    objective: str
    unit: str
    search: str
    search_seed: int | None
    budget: int
    budget_frac: float
    is_dense: bool
    status: str
    subset: str
    subset_hash: str
    removed: tuple[int, ...]
    calib_value: float
    calib_stderr: float | None
    calib_value_dense: float
    trace: tuple[dict[str, Any], ...]
    n_evals: int
    racing: bool
    calib_accuracy: float | None
    calib_accuracy_dense: float | None
    metrics: tuple[MetricRow, ...]
    accuracy: float | None
    accuracy_dense: float | None
    efficiency: dict[str, float]
    warnings: tuple[str, ...]
    stores: dict[str, str]
    measured: dict[str, Any]
    environment: dict[str, str]


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class FailureRecord:
    """Why a run has no record yet, and which cell of the grid is missing.

    Attributes:
        exception: Type of the exception.
        reason: What went wrong, in one sentence.
        phase: What the job was doing: preparation, calibration, model, search, evaluation, or recording.
        log: The job's log file, relative to the results folder.

    The other fields are those of `RunRecord`.
    """

    schema_version: int
    run_id: str
    exception: str
    reason: str
    phase: str
    log: str
    model: str
    calib_dataset: str
    calib_samples: int
    calib_seq_len: int
    calib_seed: int
    objective: str
    search: str
    search_seed: int | None
    budget: int


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
            RecordError: There is a file, but it is not a record of this version.
        """
        path = self.path(run_id)
        return read_record(path) if path.is_file() else None

    def records(self) -> Iterator[RunRecord]:
        """Yields all records, in the order of their run ids.

        Raises:
            RecordError: A file is not a record of this version.
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
    """Reads a record.

    Raises:
        RecordError: The file is not a record of this version.
    """
    return _read(path, _RUN_RECORD, SCHEMA_VERSION)


def read_failure(path: Path) -> FailureRecord:
    """Reads the record of a failure.

    Raises:
        FileNotFoundError: There is none.
        RecordError: The file is not a record of this version.
    """
    return _read(path, _FAILURE_RECORD, FAILURE_SCHEMA_VERSION)


T = TypeVar("T", RunRecord, FailureRecord)

_RUN_RECORD, _FAILURE_RECORD = TypeAdapter(RunRecord), TypeAdapter(FailureRecord)


def _read(path: Path, schema: TypeAdapter[T], version: int) -> T:
    text = path.read_bytes()
    try:
        record = schema.validate_json(text)
    except ValidationError as error:
        found = _schema_version(text)
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


def _schema_version(text: bytes) -> Any:
    """Returns what a file says to be the version of its format; None where it says nothing that can be read."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content.get("schema_version") if isinstance(content, dict) else None


def _fault(error: ValidationError) -> str:
    """Returns the first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join([*map(str, first["loc"]), first["msg"]])
