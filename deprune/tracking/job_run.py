"""The W&B run of one job."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from deprune.record.schema import RunRecord
from deprune.tracking.client import send
from deprune.tracking.config import TrackingConfig

FACTORS = (
    "model",
    "calib_dataset",
    "calib_config",
    "calib_samples",
    "calib_seq_len",
    "calib_tokens",
    "calib_seed",
    "objective",
    "search",
    "search_seed",
    "budget",
    "budget_frac",
    "n_blocks",
)
"""The fields of a record that become the flat configuration of a W&B run."""

LONGEST_TAG = 64
"""W&B refuses runs with longer tags."""


def track(config: TrackingConfig, record: RunRecord, record_path: Path, results_dir: Path, sweep: str) -> None:
    """Sends a finished run to the tracker; whatever goes wrong there is only logged.

    Args:
        config: Where to.
        record: The record of the run.
        record_path: Its file, which becomes an artifact.
        results_dir: Holds the folder of W&B's runs.
        sweep: Name of the sweep, the group of its runs.
    """
    tags = (record.model, record.calib_dataset, record.objective, record.search)
    description = {
        "name": run_name(record),
        "group": sweep,
        "job_type": "dense" if record.is_dense else "prune",
        "tags": [tag[:LONGEST_TAG] for tag in dict.fromkeys(tags)],
        "notes": "\n".join(record.warnings) or None,
        "config": {factor: getattr(record, factor) for factor in FACTORS} | {"run_id": record.run_id},
    }
    send(config, results_dir, description, functools.partial(_fill, record, record_path), "run")


def run_name(record: RunRecord) -> str:
    """Returns the name of a run on a dashboard, such as `qwen3_8b · c4 n64 L2048 · greedy · k7`."""
    calibration = f"{record.calib_dataset} n{record.calib_samples} L{record.calib_seq_len}"
    return f"{record.model} · {calibration} · {record.search} · k{record.budget}"


def _fill(record: RunRecord, record_path: Path, run: Any) -> None:
    import wandb

    run.define_metric("evaluations")
    run.define_metric("best_loss", step_metric="evaluations", summary="min")
    for name, best in best_of(record).items():
        run.define_metric(name, summary=best)
    for point in record.trace:
        if point["n_removed"] == record.budget:
            run.log({"evaluations": point["evaluations"], "best_loss": point["loss"]})
    outcome = _outcome(record)
    run.log({**outcome, "scores": _scores(record), "mask": _mask(record)})
    run.summary.update(outcome | _costs(record))  # after the history, whose summary of a metric is nested: acc.max
    artifact = wandb.Artifact(f"record-{record.run_id}", type="record")
    artifact.add_file(str(record_path), skip_cache=True)
    run.log_artifact(artifact)


def best_of(record: RunRecord) -> dict[str, str]:
    """Returns for each metric whether its best value is the `min` or the `max`."""
    scores = {f"{row.task}/{row.metric}": "max" if row.higher_is_better else "min" for row in record.metrics}
    return {"accuracy": "max", "calib_value": "min"} | scores


def _outcome(record: RunRecord) -> dict[str, float | None]:
    scores = {f"{row.task}/{row.metric}": row.value for row in record.metrics}
    return {"accuracy": record.accuracy, "calib_value": record.calib_value} | scores


def _costs(record: RunRecord) -> dict[str, Any]:
    """Returns what stands beside the outcome in the summary: where it started from, what it is, what it took."""
    return {
        "accuracy_dense": record.accuracy_dense,
        "calib_value_dense": record.calib_value_dense,
        "removed": list(record.removed),
        "subset": record.subset,
        "n_evals": record.n_evals,
        "evaluations_computed": record.measured["evaluations"]["computed"],
        "block_calls": record.measured["evaluations"]["block_calls"],
        **{f"seconds/{phase}": seconds for phase, seconds in record.measured["seconds"].items()},
    }


def _scores(record: RunRecord) -> Any:
    """Returns one row per task and metric."""
    import wandb

    columns: list[str | int] = ["task", "metric", "value", "stderr", "dense_value", "dense_stderr", "n_items"]
    return wandb.Table(columns=columns, data=[[getattr(row, str(c)) for c in columns] for row in record.metrics])


def _mask(record: RunRecord) -> Any:
    """Returns one row per block: whether it was removed, and as the how-many-th, from 1."""
    import wandb

    turns = {block: turn for turn, block in enumerate(record.removed, start=1)}
    rows: list[Any] = [[block, block in turns, turns.get(block)] for block in range(record.n_blocks)]
    return wandb.Table(columns=["block", "removed", "order"], data=rows)
