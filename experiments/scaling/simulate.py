"""Where a sweep on a cluster stops getting faster with more GPUs: the planner's cost model, and a shared file system.

    python experiments/scaling/simulate.py       # reads measured.csv; writes simulated.csv and scaling.svg

A fluid simulation. Workers take jobs one after the other. A job's time is that of its evaluations on its GPUs (the
planner's rehearsal of the study's grid on an H100), and that of its files: open the store, look for new losses
at every call of the evaluator, append, write the record. A file operation takes `LATENCY`, and the file system
serves at most `RATE` of them in a second; store and shards grow with the jobs that are done.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR, build
from deprune.planning.forecast import Forecast
from deprune.planning.hardware import Hardware
from deprune.planning.jobs import jobs_of

FOLDER = Path(__file__).parent

LATENCY, RATE, BANDWIDTH = 1e-3, 20_000.0, 10e9
"""Of a shared file system: seconds of an operation, operations and bytes in a second. Assumed; set yours."""

GPU_COUNTS = (64, 128, 256, 512, 1024)
N_STEPS = 200

GRIDS = {
    "study 8B": ["+experiment=study"],
    "study 70B": ["+experiment=study", "model=hub", "model.path=meta-llama/Meta-Llama-3-70B", "budget=17,22"],
}


@dataclass(frozen=True)
class Job:
    """The mean job of a grid.

    Attributes:
        seconds: On its GPUs.
        calls: Times that the evaluator looks for new losses.
        subsets: Subsets that it adds to the store.
        gpus: GPUs that the model needs.
        loading: Seconds of loading the model.
    """

    seconds: float
    calls: float
    subsets: float
    gpus: int
    loading: float


@dataclass(frozen=True)
class Setting:
    """How a sweep is laid out.

    Attributes:
        jobs_per_process: Jobs that one process runs before it ends; each process writes its own shards.
        draws_per_folder: Calibration draws that share a results folder, and so a store.
    """

    jobs_per_process: int
    draws_per_folder: int


def mean_job(name: str) -> Job:
    """Returns the mean job of a grid by the planner."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        command = compose("plan", [text for text in GRIDS[name] if "," not in text], return_hydra_config=True)
        swept = dict(text.split("=") for text in GRIDS[name] if "," in text)
        if "model=hub" in GRIDS[name]:
            OmegaConf.update(command, "hydra.sweeper.params.model", "hub")
        for key, value in swept.items():
            OmegaConf.update(command, f"hydra.sweeper.params.{key}", value)
        command.hydra.overrides.task = [text for text in GRIDS[name] if "," not in text]
        jobs = jobs_of(command)
        hardware = build(command.hardware, Hardware, "hardware")
    forecast = Forecast(hardware, jobs)
    work = forecast.work.values()
    n = sum(w.jobs for w in work)
    gpus = 2 ** math.ceil(math.log2(max(1.0, forecast.memory[0] / hardware.memory)))
    seconds = (forecast.seconds["searching"] + forecast.seconds["scoring pruned models"]) / n
    return Job(
        seconds,
        sum(w.calls for w in work) / n,
        sum(w.computed for w in work) / n,
        gpus,
        forecast.seconds["loading models"] / len(forecast.models),
    )


def measured() -> dict[str, float]:
    """Returns what `measure.py` found, in seconds: per record, per subset read, per shard, per start."""
    values: defaultdict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    with (FOLDER / "measured.csv").open() as file:
        for row in csv.DictReader(file):
            values[row["what"]][int(row["records or subsets"]), int(row["shards"])] = float(row["value"])
    (lines, _), opening = next(iter(values["open store [s]"].items()))
    return {
        "start": values["start of a process [s]"][0, 0],
        "further": values["start of a further job in it [s]"][0, 0],
        "subset": opening / lines,
        "bytes": values["bytes of a subset on disk [byte]"][lines, 1],
    }


N_DRAW_JOBS, N_CONTEXTS = 14, 6
"""Jobs of the study that share a draw (searches and budgets), and its pairs of model and objective."""


def simulate(job: Job, n_jobs: int, n_gpus: int, setting: Setting, cost: dict[str, float]) -> dict[str, float]:
    """Returns hours, shares of the workers' time by cause, and files at the end."""
    n_workers = min(n_gpus // job.gpus, math.ceil(n_jobs / setting.jobs_per_process))
    n_folders = max(1, math.ceil(n_jobs / N_DRAW_JOBS / setting.draws_per_folder))
    start = (cost["start"] + job.loading) / setting.jobs_per_process + cost["further"]
    elapsed, spent = 0.0, defaultdict(float)
    for step in range(N_STEPS):
        done = (step + 0.5) / N_STEPS * n_jobs
        # Folders are worked on one after the other; the store that a job opens is that of its model and objective.
        in_folder = done % max(1, n_jobs / n_folders) if n_folders > 1 else done
        subsets = in_folder * job.subsets / N_CONTEXTS
        shards = max(1.0, in_folder / setting.jobs_per_process / N_CONTEXTS)
        operations = 10 + (1 + job.calls) * (shards + 1) + job.subsets
        n_bytes = subsets * cost["bytes"]
        times = {
            "evaluating": job.seconds,
            "starting": start,
            "reading the store": subsets * cost["subset"] + n_bytes * n_workers / BANDWIDTH,
            "file operations": operations * max(LATENCY, n_workers / RATE),
        }
        elapsed += n_jobs / N_STEPS * sum(times.values()) / n_workers
        for cause, seconds in times.items():
            spent[cause] += seconds
    total = sum(spent.values())
    shares = {cause: seconds / total for cause, seconds in spent.items()}
    files = n_jobs * 4 + n_jobs / setting.jobs_per_process
    return {"hours": elapsed / 3600, **shares, "files": files}


SETTINGS = {
    "a process a job, one folder": Setting(1, 10**9),
    "20 jobs a process, one folder": Setting(20, 10**9),
    "20 jobs a process, a folder for 20 draws": Setting(20, 20),
}
CASES = (
    ("study 8B", 84),
    ("study 8B", 8_400),
    ("study 8B", 100_000),
    ("study 70B", 8_400),
    ("study 70B", 100_000),
)


def main() -> None:
    """Simulates all cases and writes table and figure."""
    cost = measured()
    jobs = {name: mean_job(name) for name in GRIDS}
    rows = [
        {"grid": name, "jobs": n_jobs, "gpus": n_gpus, "setting": label}
        | simulate(jobs[name], n_jobs, n_gpus, setting, cost)
        for name, n_jobs in CASES
        for n_gpus in GPU_COUNTS
        for label, setting in SETTINGS.items()
    ]
    with (FOLDER / "simulated.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    plot(rows)
    for name, job in jobs.items():
        print(name, replace(job, seconds=round(job.seconds)))


def plot(rows: list[dict[str, object]]) -> None:
    """Draws which part of the workers' time evaluates, by number of GPUs."""
    figure, axes = plt.subplots(1, len(CASES), figsize=(13, 3), sharey=True, layout="constrained")
    for axis, (name, n_jobs) in zip(axes, CASES, strict=True):
        for label, style in zip(SETTINGS, ("o:", "s--", "^-"), strict=True):
            found = [r for r in rows if (r["grid"], r["jobs"], r["setting"]) == (name, n_jobs, label)]
            axis.plot(
                [r["gpus"] for r in found], [100 * float(str(r["evaluating"])) for r in found], style, label=label
            )
        axis.set(title=f"{name}, {n_jobs:,} jobs", xlabel="GPUs", ylim=(0, 105), xscale="log")
        axis.set_xticks(GPU_COUNTS, [str(n) for n in GPU_COUNTS], fontsize=8)
        axis.minorticks_off()
    axes[0].set_ylabel("time that evaluates [%]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    plt.rcParams["svg.hashsalt"] = "deprune"
    figure.savefig(FOLDER / "scaling.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
