"""What W&B gets, read back from an offline run that the real client wrote."""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from deprune import tracking
from deprune.record import read_record
from tests.conftest import Command

JOB = ["budget=2", "search=greedy", "calib.n_samples=4", "calib.seq_len=64", "eval.limit=10"]


def read_offline_run(folder: Path) -> list[Any]:
    """Returns the records of an offline run: a header, then LevelDB's log format."""
    (path,) = folder.glob("run-*.wandb")
    data, position, pending, records = path.read_bytes(), 7, b"", []
    while position < len(data):
        if 32768 - position % 32768 < 7:  # the rest of a block is padding
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(wandb_internal_pb2.Record.FromString(pending))
            pending = b""
    return records


@pytest.mark.slow
def test_offline_run_holds_factors_trace_scores_and_record(sweep: Command, tmp_path: Path) -> None:
    result = sweep("-m", *JOB, "tracking=wandb")
    assert result.code == 0, result.err
    assert "W&B" not in result.err
    (folder,) = tmp_path.glob("results/wandb/offline-run-*")
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    sent = read_offline_run(folder)

    (run,) = [r.run for r in sent if r.WhichOneof("record_type") == "run"]
    assert run.display_name == "tiny_llama · mixture n4 L64 · greedy · k2"
    (sweep_folder,) = tmp_path.glob("results/sweeps/*")
    assert run.run_group == sweep_folder.name
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["calib_dataset"] == "mixture"
    assert config["search"] == "greedy"
    assert config["run_id"] == record.run_id
    assert all(not isinstance(config[factor], dict) for factor in tracking.FACTORS)

    history = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in r.history.item}
        for r in sent
        if r.WhichOneof("record_type") == "history"
    ]
    losses = [(row["evaluations"], row["best_loss"]) for row in history if "best_loss" in row]
    expected = [(p["evaluations"], p["loss"]) for p in record.trace if p["n_removed"] == 2]
    assert losses == expected
    summary = {
        item.key: json.loads(item.value_json)
        for r in sent
        if r.WhichOneof("record_type") == "summary"
        for item in r.summary.update
    }
    assert summary["accuracy"] == record.accuracy
    assert summary["removed"] == list(record.removed)
    assert any(r.request.log_artifact.artifact.name or r.artifact.name for r in sent)


def test_no_tracking_writes_nothing(sweep_here: Command, tmp_path: Path) -> None:
    assert sweep_here(*JOB, "tracking=none", "eval=none").code == 0
    assert not (tmp_path / "results" / "wandb").exists()


def test_failure_of_the_tracker_does_not_fail_the_job(
    sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no tracker today")

    monkeypatch.setattr(tracking, "_log_to_wandb", fail)
    with caplog.at_level(logging.WARNING):
        result = sweep_here(*JOB, "tracking=wandb", "eval=none")
    assert result.code == 0
    assert "no tracker today" in result.err + caplog.text
    assert len(list(tmp_path.rglob("record.json"))) == 1


def test_nobody_is_asked_to_log_in(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    assert tracking._mode(None) == "offline"
    assert not caplog.records
    assert tracking._mode("online") == "offline"
    assert "not logged in" in caplog.text
    assert tracking._mode("offline") == "offline"
    monkeypatch.setattr("wandb.login", lambda prompt: True)
    assert tracking._mode(None) == "online"
