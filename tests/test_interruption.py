"""A signal ends a command cleanly: nothing torn, nothing lost, the rest not started."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deprune.core import files
from deprune.core.interruption import Interrupted, held_back, interruptible
from deprune.run.grid import in_grid_order
from tests.conftest import PATIENCE, Command, wait_until

SWEEP = ["-m", "search=random", "budget=1,2,3,4,5,6,7,8", "calib=facts,narratives", "seed=range(4)"]
TINY = ["calib.n_samples=2", "calib.seq_len=16", "eval=none", "tracking=none"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name) as caught, interruptible():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("before", "ending"), [("SIG_DFL", "Interrupted by SIGHUP"), ("SIG_IGN", "went on")])
def test_a_lost_terminal_is_a_signal_to_stop_unless_nohup_says_otherwise(before: str, ending: str) -> None:
    script = f"import signal; signal.signal(signal.SIGHUP, signal.{before})\n"
    script += "from deprune.core.interruption import interruptible\n"
    script += "with interruptible(): signal.raise_signal(signal.SIGHUP)\nraise SystemExit('went on')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(ending)


def test_a_swallowed_interruption_is_raised_at_the_end() -> None:
    with pytest.raises(Interrupted), interruptible(), contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)


def test_what_a_library_makes_of_an_interruption_is_one() -> None:
    def library() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as swallowed:
            raise ValueError from swallowed

    with pytest.raises(Interrupted), interruptible():
        library()


def test_an_error_without_a_signal_stays_one() -> None:
    with pytest.raises(ValueError, match="mine"), interruptible():
        raise ValueError("mine")


def test_a_write_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(Interrupted), interruptible():
        files.write_atomically(tmp_path / "record.json", "whole")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("record.json", "whole")]


def test_a_signal_during_a_write_that_fails_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(Interrupted), interruptible():
        files.write_atomically(tmp_path / "record.json", "whole")
    assert not list(tmp_path.iterdir())


def test_an_interruption_comes_back_from_another_process() -> None:
    assert pickle.loads(pickle.dumps(Interrupted(15))).exit_code == 143


def test_other_threads_write_as_ever(tmp_path: Path) -> None:
    def write() -> None:
        with held_back():
            files.write_atomically(tmp_path / "a", "b")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "a").read_text() == "b"


def test_jobs_of_a_model_then_of_a_calibration_are_neighbours() -> None:
    given = ["search=a,b", "calib.seed=0,1", "+model.x=1", "budget=1,2", "calib=c,d", "model=m,n"]
    assert in_grid_order(given) == [
        "+model.x=1",
        "model=m,n",
        "calib.seed=0,1",
        "calib=c,d",
        "search=a,b",
        "budget=1,2",
    ]


def start(tmp_path: Path, *overrides: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "DEPRUNE_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "deprune.sweep", *overrides],
        cwd=tmp_path, env=environment | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def wait_for_records(tmp_path: Path, n: int) -> None:
    wait_until(lambda: len(list(tmp_path.glob("results/runs/*/record.json"))) >= n)


def statuses(tmp_path: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in tmp_path.rglob("outcome.json")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "launcher"), [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGTERM, ["hydra/launcher=joblib"])]
)
def test_a_sweep_stops_and_goes_on(tmp_path: Path, sweep: Command, number: signal.Signals, launcher: list[str]) -> None:
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
        launcher = [*launcher, "hydra.launcher.n_jobs=2"]
    process = start(tmp_path, *SWEEP, *TINY, *launcher)
    wait_for_records(tmp_path, 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, err
    assert f"Interrupted by {number.name}: what was finished is kept" in err
    assert "Traceback" not in out + err
    n_done = statuses(tmp_path).count("done")
    assert 2 <= n_done < 64
    assert set(statuses(tmp_path)) <= {"done", "interrupted"}
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == n_done
    assert not list(tmp_path.rglob(".*.json.*")), "a temporary file was left"
