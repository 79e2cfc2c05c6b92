"""Measures how long the whole report of 2,016 runs takes, and writes `report.md` beside this file.

    python experiments/benchmarks/report.py

The records are those of `loading.py`: a complete grid of 3 models × 2 budgets × 4 corpora × 2 objectives ×
7 searches × 6 seeds with six tasks of 1,000 items and three corpora, so that there are thirteen responses.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from loading import N_ITEMS, TASKS, write_records

from deprune.analysis import load
from deprune.analysis.report import gather, write_report

N_RUNS = 2016


def write_answers(folder: Path) -> None:
    """Writes which items each run answered correctly, as many as its record says."""
    rng = np.random.default_rng(1)
    for run in load(folder).runs.itertuples():
        n_correct = round(run.accuracy / 100 * N_ITEMS)
        scores = {
            task: [{"task": task, "metric": "acc", "item_set": f"{task:16}", "items": items.astype(int).tolist()}]
            for task, items in ((task, rng.permutation(N_ITEMS) < n_correct) for task in TASKS)
        }
        path = folder / "downstream" / run.scores_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(scores))


def main() -> None:
    """Measures and writes the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_records(folder / "results", N_RUNS)
        write_answers(folder / "results")
        times = [time.perf_counter()]
        results = load(folder / "results")
        times.append(time.perf_counter())
        evidence = gather(results)
        times.append(time.perf_counter())
        page = write_report(evidence, folder / "report")
        times.append(time.perf_counter())
        size = page.stat().st_size / 1e6
    assert evidence.subjects[0].decomposition.estimator.endswith("items subtracted")
    loading, computing, writing = (b - a for a, b in itertools.pairwise(times))
    computed = f"{len(evidence.subjects)} responses, patterns of {len(evidence.patterns)} models, gains, ranks"
    text = f"""# The report of {N_RUNS:,} runs

Made by `python experiments/benchmarks/report.py` on {os.cpu_count()} cores with Python {platform.python_version()};
one process.

| what | seconds |
| --- | --- |
| load the records | {loading:.1f} |
| compute: {computed} | {computing:.1f} |
| tables, figures and a page of {size:.1f} MB | {writing:.1f} |
| together; wanted: under 60 | {times[-1] - times[0]:.1f} |
"""
    (Path(__file__).parent / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
