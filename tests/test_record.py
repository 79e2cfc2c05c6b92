"""Records survive the round trip, and damaged or foreign ones are refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deprune.core.errors import RecordError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import file_name_of
from deprune.record.columns import PLACES as COLUMNS
from deprune.record.legacy import search_facts
from deprune.record.schema import (
    SCHEMA_VERSION,
    Cost,
    Draw,
    Factors,
    MetricRow,
    Provenance,
    Removal,
    RunRecord,
    Scores,
    SearchFacts,
)
from deprune.record.store import ResultStore, read_record

ROW = MetricRow(
    scorer="choices", task="t", metric="acc", response="accuracy", value=0.5, stderr=0.1, dense_value=0.6,
    dense_stderr=0.1, unit="share", higher_is_better=True, chance=0.25, n_items=10, item_set="i", version="1",
)  # fmt: skip
PARTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "factors": (Factors, {
        "model": "tiny", "budget": 2, "calib_dataset": "c4", "objective": "nll", "calib_samples": 3, "calib_seq_len": 3,
        "search": "greedy", "treatment": "none", "calib_seed": 0, "search_seed": None,
    }),
    "draw": (Draw, {"sample_id": "d0", "token_hash": "h", "draw_id": "d0", "n_tokens": 9}),
    "removal": (Removal, {
        "n_blocks": 4, "subset": "0110", "order": (2, 1), "unit": "nat/token", "loss": 2.0, "stderr": 0.25,
        "dense_loss": 1.5, "accuracy": None, "dense_accuracy": None, "trace": ({"loss": 1.5},), "racing": False,
        "search": None,
    }),
    "scores": (Scores, {"metrics": (ROW,), "accuracy": 0.5, "dense_accuracy": 0.6}),
    "cost": (Cost, {
        "n_evals": 3, "evaluations": {"block_calls": 7}, "seconds": {"search": 2.0}, "peak_memory_bytes": 1,
    }),
    "provenance": (Provenance, {
        "model_path": None, "model_revision": "1", "warnings": (), "environment": {"device": "CPU"},
        "written_at": "now", "stores": {"evaluations": "made", "samples": "made", "downstream": "made/0110.json"},
    }),
}  # fmt: skip
PLACES = {
    **COLUMNS, "metrics": "scores.metrics", "warnings": "provenance.warnings", "stores": "provenance.stores",
    "accuracy_dense": "scores.dense_accuracy",
}  # fmt: skip


def make_record(**changes: Any) -> RunRecord:
    """Returns a record with other values in the columns that tables of runs have, or at places like `cost.seconds`."""
    top = {"schema_version": SCHEMA_VERSION, "run_id": "made", "status": "done", "identity": {}}
    parts = {name: dict(values) for name, (_, values) in PARTS.items()}
    for name, value in changes.items():
        part, _, key = PLACES.get(name, name).partition(".")
        (parts[part] if key else top)[key or part] = value
    search = parts["factors"]["search"]
    facts = search_facts(search)
    if parts["removal"]["search"] is None and parts["factors"]["budget"]:
        parts["removal"]["search"] = SearchFacts(**{**facts, "guarantees": tuple(facts["guarantees"])})
    return RunRecord(**top, **{name: PARTS[name][0](**values) for name, values in parts.items()})


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
