"""Tracking of runs in Weights & Biases, off the critical path."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deprune.errors import ConfigError
from deprune.record import RunRecord

log = logging.getLogger(__name__)

FACTORS = (
    "model",
    "calib_dataset",
    "calib_config",
    "calib_samples",
    "calib_seq_len",
    "calib_seed",
    "objective",
    "search",
    "search_seed",
    "budget",
    "budget_frac",
    "n_blocks",
)
"""The fields of a record that become the flat configuration of a W&B run."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are tracked.

    Attributes:
        backend: `wandb` or `none`.
        project: The W&B project.
        mode: `online`, `offline`, or by default online exactly where the user is logged in.
    """

    backend: str = "none"
    project: str = "deprune"
    mode: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in ("none", "wandb"):
            raise ConfigError(f"The tracking backend '{self.backend}' is not one of none, wandb.")
        if self.mode not in (None, "online", "offline"):
            raise ConfigError(f"The value of tracking.mode, '{self.mode}', is not one of online, offline, null.")


def track(config: TrackingConfig, record: RunRecord, record_path: Path, results_dir: Path, sweep: str) -> None:
    """Sends a finished run to the tracker; whatever goes wrong there is only logged.

    Args:
        config: Where to.
        record: The record of the run.
        record_path: Its file, which becomes an artifact.
        results_dir: Holds the folder for runs that are kept offline.
        sweep: Name of the sweep, the group of its runs.
    """
    if config.backend == "none":
        return
    try:
        _log_to_wandb(config, record, record_path, results_dir, sweep)
    except Exception as error:
        log.warning("The run was not tracked in W&B (its record is safe): %s", error)


def run_name(record: RunRecord) -> str:
    """Returns the name of a run on a dashboard, such as `qwen3_8b · c4 n64 L2048 · greedy · k7`."""
    calibration = f"{record.calib_dataset} n{record.calib_samples} L{record.calib_seq_len}"
    return f"{record.model} · {calibration} · {record.search} · k{record.budget}"


def _log_to_wandb(config: TrackingConfig, record: RunRecord, record_path: Path, results_dir: Path, sweep: str) -> None:
    import wandb

    mode: Any = _mode(config.mode or os.environ.get("WANDB_MODE"))
    with wandb.init(
        project=config.project,
        group=sweep,
        job_type="dense" if record.is_dense else "prune",
        name=run_name(record),
        tags=[record.model, record.calib_dataset, record.objective, record.search],
        config={factor: getattr(record, factor) for factor in FACTORS} | {"run_id": record.run_id},
        dir=results_dir,
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    ) as run:
        run.define_metric("evaluations")
        run.define_metric("best_loss", step_metric="evaluations", summary="min")
        for point in record.trace:
            if point["n_removed"] == record.budget:
                run.log({"evaluations": point["evaluations"], "best_loss": point["loss"]})
        run.summary.update(_summary(record))
        run.log({"scores": _scores_table(record)})
        artifact = wandb.Artifact(f"record-{record.run_id}", type="record")
        artifact.add_file(str(record_path))
        run.log_artifact(artifact)


def _summary(record: RunRecord) -> dict[str, Any]:
    scores = {f"{row.task}/{row.metric}": row.value for row in record.metrics}
    return scores | {
        "accuracy": record.accuracy,
        "accuracy_dense": record.accuracy_dense,
        "calib_value": record.calib_value,
        "calib_value_dense": record.calib_value_dense,
        "removed": list(record.removed),
        "subset": record.subset,
        "evaluations_computed": record.measured["evaluations"]["computed"],
        "block_calls": record.measured["evaluations"]["block_calls"],
    }


def _scores_table(record: RunRecord) -> Any:
    import wandb

    columns: list[str | int] = ["task", "metric", "value", "stderr", "dense_value", "n_items"]
    return wandb.Table(columns=columns, data=[[getattr(row, str(c)) for c in columns] for row in record.metrics])


def _mode(wanted: str | None) -> str:
    """Returns the mode for a run; never online without a login, since W&B would ask for one."""
    import wandb

    if wanted not in (None, "online"):
        return wanted
    if wandb.login(prompt=False):
        return "online"
    if wanted == "online":
        log.warning("You are not logged in to W&B, so the run is kept offline; set WANDB_API_KEY or run `wandb login`.")
    return "offline"
