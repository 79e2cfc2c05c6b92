"""What 10^5 records, a store of many shards, and the start of a job take on this machine.

    python experiments/scaling/measure.py        # writes measured.csv; takes minutes and 1 GB of temporary files

Records and losses are synthetic, of the size of real ones: a record without tasks, and 64 samples a subset.
Seconds are of the wall, of one process on a local disk, with files that the system has just written in its cache.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from deprune.record.evaluations import EvaluationStore
from deprune.record.store import ResultStore, read_record

FOLDER = Path(__file__).parent
JOB = ["search=last", "budget=1", "calib.n_samples=2", "calib.seq_len=32", "eval=none", "tracking=none"]
N_SAMPLES, N_BLOCKS = 64, 32
N_LINES = 20_000


def seconds_of(work: Callable[[], object]) -> float:
    """Returns the wall time of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sweep(results: Path, *overrides: str) -> float:
    """Returns the wall time of a command."""
    command = [sys.executable, "-m", "deprune.sweep", *overrides, *JOB, f"results_dir={results}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return seconds_of(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))


def measure_launch(results: Path) -> dict[str, float]:
    """Times commands whose jobs are done: what is left is their start."""
    sweep(results)
    one = min(sweep(results) for _ in range(3))
    many = min(sweep(results, "-m", f"calib.seed={','.join(['0'] * 21)}") for _ in range(2))
    return {"start of a process [s]": one, "start of a further job in it [s]": (many - one) / 20}


def measure_records(results: Path, n_records: int) -> dict[str, float]:
    """Times a results folder of some records."""
    (source,) = (results / "runs").glob("*/record.json")
    content = json.loads(source.read_text())
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Path(folder))
        for number in range(n_records):
            path = store.path(f"{number:016x}")
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(content | {"run_id": f"{number:016x}"}, indent=1))
        record = read_record(source)
        return {
            "list records [s]": seconds_of(lambda: sum(1 for _ in (Path(folder) / "runs").glob("*/record.json"))),
            "load records [s]": seconds_of(lambda: sum(1 for _ in store.records())),
            "find one record [s]": seconds_of(lambda: store.get(f"{n_records // 2:016x}")),
            "append one record [s]": seconds_of(lambda: [store.put(record) for _ in range(20)]) / 20,
        }


def measure_store(n_lines: int, n_shards: int) -> dict[str, float]:
    """Times a store of some lines, by as many writers as there are shards."""
    rng = np.random.default_rng(0)
    keys = [f"{number:016x}/16" for number in range(N_SAMPLES)]
    sums, counts = (rng.random(N_SAMPLES) * 4000).tolist(), [2047.0] * N_SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(n_shards):
            writer = EvaluationStore(Path(folder) / "context", fresh=True)  # reads nothing, and writes as others do
            for _ in range(n_lines // n_shards):
                writer.put("".join(rng.choice(["0", "1"], size=N_BLOCKS)), keys, sums, counts)
        opened: list[EvaluationStore] = []
        before = psutil.Process().memory_info().rss
        opening = seconds_of(lambda: opened.append(EvaluationStore(Path(folder) / "context")))
        memory = psutil.Process().memory_info().rss - before
        refreshing = seconds_of(lambda: [opened[0].refresh() for _ in range(5)]) / 5
        appending = seconds_of(lambda: [opened[0].put("0" * N_BLOCKS, keys, sums, counts) for _ in range(200)]) / 200
        n_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl"))
    return {
        "open store [s]": opening,
        "look for new losses [s]": refreshing,
        "append one subset [s]": appending,
        "bytes of a subset on disk [byte]": n_bytes / (n_lines + 200),
        "bytes of a subset in memory [byte]": memory / n_lines,
    }


def main() -> None:
    """Measures and writes the table."""
    rows: list[tuple[str, int, int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows += [(name, 0, 0, value) for name, value in measure_launch(Path(folder)).items()]
        for n_records in (1_000, 10_000, 100_000):
            rows += [(name, n_records, 0, value) for name, value in measure_records(Path(folder), n_records).items()]
    for n_shards in (1, 10, 100, 1_000, 10_000):
        rows += [(name, N_LINES, n_shards, value) for name, value in measure_store(N_LINES, n_shards).items()]
    with (FOLDER / "measured.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "records or subsets", "shards", "value"])
        writer.writerows((*row[:3], f"{row[3]:.6g}") for row in rows)


if __name__ == "__main__":
    main()
