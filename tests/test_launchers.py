"""Hydra's launchers run the same sweep to the same records, and share a machine without getting in each other's way."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch

from deprune.record.store import read_record
from deprune.run import workers
from tests.conftest import PATIENCE, ROOT, Command, wait_until
from tests.forked import start
from tests.test_faults import SWEEP as KILLED_SWEEP
from tests.test_faults import n_evaluations, outputs

SMALL = [override for override in KILLED_SWEEP[4:] if not override.startswith("evaluator.")]
SWEEP = ["-m", "search=oneshot,greedy,random", "budget=2,3", "calib=facts,narratives", *SMALL]
N_JOBS = 12
FEW = ["-m", "search=oneshot,greedy,random", "budget=2", "calib=facts", *SMALL]
N_FEW = 3
"""Where each job is a process of its own, which imports everything."""
N_WORKERS = 2
SLURM = ROOT / "experiments" / "cluster" / "single_node_slurm.sh"


@pytest.mark.parametrize(
    ("n_workers", "gpus", "shares"),
    [
        (4, "0123", ["0", "1", "2", "3"]),
        (2, "0123", ["02", "13"]),
        (3, "0123", ["03", "1", "2"]),
        (4, "57", ["5", "7", "5", "7"]),
        (3, "01", ["0", "1", "0"]),
    ],
)
def test_shares_of_gpus(n_workers: int, gpus: str, shares: list[str]) -> None:
    assert ["".join(workers.share_of(worker, n_workers, gpus)) for worker in range(n_workers)] == shares


@pytest.mark.slow
def test_workers_of_joblib_share_cores_and_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_worker(n_gpus: int) -> tuple[int, int, str]:
        """What a worker sees on a machine with so many GPUs, of which the first is not for us."""
        torch.cuda.device_count = lambda: n_gpus
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(str(1 + gpu) for gpu in range(n_gpus)))
        workers.take_share(N_WORKERS)
        (tmp_path / str(os.getpid())).touch()
        wait_until(lambda: len(list(tmp_path.iterdir())) >= N_WORKERS)  # both workers have something to do
        return os.getpid(), torch.get_num_threads(), os.environ["CUDA_VISIBLE_DEVICES"]

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = set(joblib.Parallel(N_WORKERS, backend="loky")(joblib.delayed(in_worker)(4) for _ in range(6)))
    assert len({pid for pid, _, _ in seen}) == len(seen) == N_WORKERS, "a worker keeps its share"
    assert {threads for _, threads, _ in seen} == {max(1, joblib.cpu_count() // N_WORKERS)}
    assert {gpus for _, _, gpus in seen} == {"1,3", "2,4"}


def test_the_number_of_a_worker_that_ended_is_given_again() -> None:
    def number_in_child() -> int:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(workers.worker_number)

    assert number_in_child() == number_in_child()


def test_one_worker_is_the_process_of_the_command(sweep_here: Command, tmp_path: Path) -> None:
    tiny = ["calib.n_samples=2", "calib.seq_len=16", "eval=none", "tracking=none", "search=last"]
    done = sweep_here("-m", "budget=1,2", *tiny, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert done.code == 0, done.err
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == 2


def test_a_launcher_that_is_not_installed(sweep_here: Command) -> None:
    target = "hydra_plugins.hydra_absent_launcher.absent_launcher.AbsentLauncher"
    done = sweep_here("-m", "budget=1,2", "hydra/launcher=joblib", f"hydra.launcher._target_={target}")
    assert done.code == 1
    assert done.err.endswith("Error: This launcher is not installed; add it with: pip install 'deprune[absent]'.\n")
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the basic launcher finds."""
    folder = tmp_path_factory.mktemp("basic")
    process = start(folder, SWEEP)
    process.join(PATIENCE)
    assert process.exitcode == 0, (folder / "output.txt").read_text()
    found = outputs(folder)
    assert sum("removal" in content for content in found.values()) == N_JOBS
    return found


def assert_are_the_few(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sum("removal" in content for content in found.values()) == N_FEW
    assert found == {name: expected[name] for name in found}


@pytest.mark.slow
def test_two_sweeps_at_once_share_what_they_compute(tmp_path: Path, expected: dict[str, Any]) -> None:
    backwards = ["-m", "search=random,greedy,oneshot", "budget=3,2", "calib=narratives,facts", *SMALL]
    processes = [start(tmp_path, SWEEP), start(tmp_path, backwards)]
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert outputs(tmp_path) == expected
    counts = n_evaluations(tmp_path)
    assert max(counts.values()) <= len(processes)
    assert counts.total() < 1.5 * len(counts), "neither waited for, nor repeated, much of the other's work"
    records = [read_record(path) for path in tmp_path.glob("results/runs/*/record.json")]
    assert sum(record.cost.evaluations["damaged_lines"] for record in records) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={N_WORKERS}"],
        ["hydra/launcher=ray", f"hydra.launcher.ray.init.num_cpus={N_WORKERS}"],
    ],
    ids=["joblib", "ray"],
)
def test_workers_find_the_same_and_keep_their_model(
    tmp_path: Path, sweep: Command, expected: dict[str, Any], launcher: list[str]
) -> None:
    done = sweep(*SWEEP, *launcher)
    assert done.code == 0, done.err
    assert "Warning" not in done.err
    assert outputs(tmp_path) == expected
    seconds = [read_record(path).cost.seconds for path in tmp_path.glob("results/runs/*/record.json")]
    assert 1 <= sum(phase["model"] > 0.02 for phase in seconds) <= N_JOBS // 2, "Ray may replace a worker"


@pytest.mark.slow
def test_submitit_on_this_machine_finds_the_same(tmp_path: Path, sweep: Command, expected: dict[str, Any]) -> None:
    done = sweep(*FEW, "hydra/launcher=submitit_local")
    assert done.code == 0, done.err
    assert_are_the_few(outputs(tmp_path), expected)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real SLURM on this machine, where it can be had."""
    if os.geteuid() != 0:
        pytest.skip("the daemons of SLURM need root, which the tests do not have here")
    started = subprocess.run([SLURM, "start"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if started.returncode != 0:
        pytest.skip(f"SLURM cannot be installed or started here: {started.stderr.strip()[-200:]}")
    monkeypatch.setenv("SLURM_CONF", started.stdout.strip().partition("=")[2])
    yield
    subprocess.run([SLURM, "stop"], check=True)


@pytest.mark.slow
def test_slurm_finds_the_same_and_interrupts(
    tmp_path: Path, sweep: Command, slurm: None, expected: dict[str, Any]
) -> None:
    done = sweep(*FEW, "hydra/launcher=submitit_slurm")
    assert done.code == 0, done.err
    assert_are_the_few(outputs(tmp_path), expected)

    def statuses() -> list[str]:
        outcomes = tmp_path.glob("cancelled/sweeps/*/*/outcome.json")
        return [json.loads(path.read_text())["status"] for path in outcomes]

    longer = ["-m", "search=exhaustive", "budget=5,6", "calib=facts", *SMALL, "hydra/launcher=submitit_slurm"]
    command = subprocess.Popen(
        [sys.executable, "-m", "deprune.sweep", *longer, "results_dir=cancelled"],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until(lambda: statuses() == ["running"] * 2)
        subprocess.run(["scancel", "--state=RUNNING"], check=True)
        out, _ = command.communicate(timeout=PATIENCE)
    finally:
        command.kill()
    assert command.returncode == 128 + signal.SIGTERM, out
    assert statuses() == ["interrupted"] * 2
