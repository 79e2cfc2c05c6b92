"""Failed jobs leave a record of the failure, which is counted, run again or left out, and goes when they succeed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deprune.model.source import EMBEDDED_FOLDER
from deprune.record.store import read_failure
from tests.conftest import Command

TINY = ["calib.n_samples=2", "calib.seq_len=16", "search=oneshot", "eval=none", "tracking=none"]
GRID = ["-m", "model=hub", "model.path=copy", "budget=1,2,12", *TINY]


@pytest.fixture
def broken_model(tmp_path: Path) -> Path:
    """A model folder whose weights are there, but cut short; gives the path of the weights."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in (EMBEDDED_FOLDER / "tiny_llama").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return weights


def test_failure_is_recorded_counted_and_left_out(sweep_here: Command, tmp_path: Path, broken_model: Path) -> None:
    result = sweep_here(*GRID)
    assert result.code == 1
    assert "Jobs: 0 done, 0 found done before, 3 failed." in result.out
    paths = sorted(tmp_path.glob("results/runs/*/failure.json"))
    assert len(paths) == 2, "the budget of 12 has no run id"
    failures = [read_failure(path) for path in paths]
    assert {f.factors.budget for f in failures} == {1, 2}
    for path, failure in zip(paths, failures, strict=True):
        assert failure.run_id == path.parent.name
        assert failure.phase == "model"
        assert failure.exception == "UnsupportedModelError"
        assert failure.reason in result.out
        assert (failure.factors.model, failure.factors.calib_dataset, failure.factors.search) == (
            "copy",
            "mixture",
            "oneshot",
        )
        assert "Traceback" in (tmp_path / "results" / failure.log).read_text()
        assert str(tmp_path) not in path.read_text()

    again = sweep_here(*GRID, "retry_failed=false")
    assert again.code == 1
    assert "Jobs: 0 done, 0 found done before, 1 failed, 2 left out." in again.out
    assert (
        "Left out 2 of 3 jobs, which failed before (retry_failed=false): The weights of copy cannot be loaded"
        in again.out
    )


def test_success_removes_the_failure(sweep_here: Command, tmp_path: Path) -> None:
    job = ["budget=1", *TINY]
    assert sweep_here(*job).code == 0
    (record,) = tmp_path.glob("results/runs/*/record.json")
    text = record.read_text()
    record.write_text(text[:500])
    failed = sweep_here(*job)
    assert failed.code == 1
    assert re.search(r"The record \S+ is damaged .*; delete it and run the job again", failed.err)
    assert failed.err.count("\n") == 1
    failure = record.with_name("failure.json")
    assert json.loads(failure.read_text())["phase"] == "preparation"
    record.unlink()
    assert sweep_here(*job).code == 0
    assert not failure.exists()
    assert json.loads(record.read_text())["identity"] == json.loads(text)["identity"]


def test_outcomes_say_what_became_of_each_job(sweep_here: Command, tmp_path: Path) -> None:
    sweep_here("-m", "budget=12,1", *TINY)
    outcomes = {p.parent.name: json.loads(p.read_text()) for p in tmp_path.rglob("outcome.json")}
    assert (outcomes["0"]["status"], outcomes["0"]["run_id"]) == ("failed", None)
    assert (outcomes["1"]["status"], outcomes["1"]["signal"]) == ("done", None)
