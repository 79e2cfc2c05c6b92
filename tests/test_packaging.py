"""The wheel holds configurations, weights and tasks, and works away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_wheel_runs_every_kind_of_command_outside_a_clone(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("deprune-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import deprune.run.cli; print(deprune.run.cli.CONF_DIR)"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == site / "deprune" / "conf"

    def run(command: str, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", f"deprune.{command}", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)

    small = ["calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "eval.windows=1", "tracking=none"]
    run("sweep", "search=last", "budget=1", *small)
    (record,) = (tmp_path / "results" / "runs").glob("*/record.json")
    run("export", f"run={record.parent.name}", "out=checkpoint")
    assert (tmp_path / "checkpoint" / "model.safetensors").is_file()
    run("plan", "-m", "calib=facts,narratives", "search=last,oneshot", *small)
    run("analyze", "published=true", "response=accuracy", "where={model: llama3-8b}")
    assert (tmp_path / "report" / "report.html").is_file()
