"""What does a job cost whose evaluations are all remembered?

    python experiments/benchmarks/remembered.py

Runs a grid, takes its records away, and runs it again from the evaluations and scores that it left: once with one draw
and once with three, so that the difference is of jobs alone and not of the start of a process. Prints seconds of the
processor per job, with and without tracking in W&B (offline).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GRID = [
    "calib=facts,narratives",
    "search=oneshot,greedy,beam,cbo",
    "calib.n_samples=8",
    "calib.seq_len=32",
    "budget=2,3",
]
JOBS_OF_A_DRAW = 16


def seconds(folder: Path, seeds: str, tracking: str) -> float:
    """Returns the processor seconds of a sweep."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "deprune.sweep", "-m", *GRID, f"calib.seed={seeds}", f"tracking={tracking}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "WANDB_MODE": "offline"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(folder, "0,1,2", "none")
        for tracking in ("none", "wandb"):
            taken = []
            for seeds in ("0", "0,1,2"):
                shutil.rmtree(folder / "results" / "runs")
                taken.append(seconds(folder, seeds, tracking))
            print(f"tracking={tracking}: {(taken[1] - taken[0]) / (2 * JOBS_OF_A_DRAW):.3f} s a job")


if __name__ == "__main__":
    main()
