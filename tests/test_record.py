"""Records survive the round trip, and damaged or foreign ones are refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deprune.core.errors import RecordError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import file_name_of
from deprune.record.schema import SCHEMA_VERSION, MetricRow, RunRecord
from deprune.record.store import ResultStore, read_record

VALUES: dict[str, Any] = {
    "str": "text", "int": 3, "float": 0.5, "bool": False, "int | None": None, "float | None": 0.25, "str | None": None,
    "dict[str, Any]": {"a": [1, "b"]}, "dict[str, str]": {"python": "3.11"}, "tuple[int, ...]": (2, 1),
    "tuple[dict[str, Any], ...]": ({"loss": 1.5},), "tuple[str, ...]": ("said",), "dict[str, float]": {"n": 2.0},
}  # fmt: skip
ROW = MetricRow(
    task="t", metric="acc", value=0.5, stderr=0.1, dense_value=0.6, dense_stderr=0.1, n_items=10,
    item_set="i", version="1", higher_is_better=True,
)  # fmt: skip


def make_record(**changes: Any) -> RunRecord:
    fields = {f.name: VALUES.get(str(f.type), (ROW,)) for f in RunRecord.__dataclass_fields__.values()}
    return RunRecord(**{**fields, "schema_version": SCHEMA_VERSION, **changes})


def test_round_trip(tmp_path: Path) -> None:
    record = make_record(run_id="abc")
    store = ResultStore(tmp_path)
    assert store.get("abc") is None
    path = store.put(record)
    assert path == tmp_path / "runs" / "abc" / "record.json"
    assert store.get("abc") == record
    assert [p.name for p in path.parent.iterdir()] == ["record.json"], "a temporary file was left"


def test_damaged_and_foreign_records_are_refused(tmp_path: Path) -> None:
    path = ResultStore(tmp_path).put(make_record(run_id="abc"))
    text = path.read_text()
    for cut in range(0, len(text) - 2, 37):
        path.write_text(text[:cut])
        with pytest.raises(RecordError, match="damaged"):
            read_record(path)
    path.write_text(json.dumps({**json.loads(text), "schema_version": 99}))
    with pytest.raises(RecordError, match="schema version 99"):
        read_record(path)
    path.write_text("[1, 2]")
    with pytest.raises(RecordError, match="damaged"):
        read_record(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="results_dir="):
        write_atomically(tmp_path / "file" / "record.json", "{}")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_numbers_that_are_none_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        ResultStore(tmp_path).put(make_record(run_id="abc", calib_value=float("nan")))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("text", ["../../etc", "a/b", "..", "", "ünï cödé", "a\0b"])
def test_file_names_cannot_leave_their_folder(text: str) -> None:
    name = file_name_of(text)
    assert name
    assert "/" not in name
    assert name not in (".", "..")
    assert "\0" not in name
