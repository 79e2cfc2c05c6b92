"""The W&B run of one job."""

import functools
from pathlib import Path
from typing import Any

from deprune.record.columns import columns_of
from deprune.record.schema import UNTREATED, RunRecord
from deprune.tracking.client import send
from deprune.tracking.config import TrackingConfig

CONFIG = (
    "model", "calib_dataset", "calib_config", "calib_samples", "calib_seq_len", "calib_tokens", "calib_seed",
    "objective", "search", "search_kind", "search_seed", "treatment", "budget", "budget_frac", "n_blocks", "run_id",
)  # fmt: skip
"""The columns of a record that become the flat configuration of a W&B run."""


def track(config: TrackingConfig, record: RunRecord, record_path: Path, results_dir: Path, sweep: str) -> None:
    """Sends a finished run, in the group of its sweep, to the tracker; whatever goes wrong there is only logged."""
    columns = columns_of(record)
    tags = [columns[name] for name in ("model", "calib_dataset", "objective", "search")]
    description = {
        "name": run_name(record),
        "group": sweep,
        "job_type": "dense" if record.is_dense else "prune",
        "tags": [tag[:64] for tag in dict.fromkeys(tags)],  # W&B refuses longer ones
        "notes": columns["warnings"] or None,
        "config": {name: columns[name] for name in CONFIG},
    }
    send(config, results_dir, description, functools.partial(_fill, record, record_path), "run")


def run_name(record: RunRecord) -> str:
    """Returns the name of a run on a dashboard, such as `qwen3_8b · c4 n64 L2048 · greedy · k7`."""
    of = record.factors
    calibration = f"{of.calib_dataset} n{of.calib_samples} L{of.calib_seq_len}"
    treatment = "" if of.treatment == UNTREATED else f" · {of.treatment}"
    return f"{of.model} · {calibration} · {of.search} · k{of.budget}{treatment}"


def _fill(record: RunRecord, record_path: Path, run: Any) -> None:
    import wandb

    run.define_metric("evaluations")
    run.define_metric("best_loss", step_metric="evaluations", summary="min")
    for name, best in best_of(record).items():
        run.define_metric(name, summary=best)
    for point in record.removal.trace:
        if point["n_removed"] == record.factors.budget:
            run.log({"evaluations": point["evaluations"], "best_loss": point["loss"]})
    outcome = {"accuracy": record.scores.accuracy, "calib_value": record.removal.loss}
    outcome |= {f"{row.task}/{row.metric}": row.value for row in record.scores.metrics}
    run.log({**outcome, "scores": _scores(record), "mask": _mask(record)})
    run.summary.update(outcome | _costs(record))  # after the history, whose summary of a metric is nested: acc.max
    artifact = wandb.Artifact(f"record-{record.run_id}", type="record")
    artifact.add_file(str(record_path), skip_cache=True)
    run.log_artifact(artifact)


def best_of(record: RunRecord) -> dict[str, str]:
    """Returns for each metric whether its best value is the `min` or the `max`."""
    scores = {f"{row.task}/{row.metric}": "max" if row.higher_is_better else "min" for row in record.scores.metrics}
    return {"accuracy": "max", "calib_value": "min"} | scores


def _costs(record: RunRecord) -> dict[str, Any]:
    """Returns what stands beside the outcome in the summary: where it started from, what it is, what it took."""
    columns, names = columns_of(record), ("accuracy_dense", "calib_value_dense", "subset", "n_evals", "block_calls")
    return {
        **{name: columns[name] for name in names},
        "removed": list(record.removal.order),
        "evaluations_computed": record.cost.evaluations["computed"],
        **{f"seconds/{phase}": seconds for phase, seconds in record.cost.seconds.items()},
    }


def _scores(record: RunRecord) -> Any:
    """Returns one row per task and metric."""
    import wandb

    columns: list[str | int] = ["task", "metric", "value", "stderr", "dense_value", "dense_stderr", "n_items"]
    return wandb.Table(columns=columns, data=[[getattr(row, str(c)) for c in columns] for row in record.scores.metrics])


def _mask(record: RunRecord) -> Any:
    """Returns one row per block: whether it was removed, and as the how-many-th, from 1."""
    import wandb

    turns = {block: turn for turn, block in enumerate(record.removal.order, start=1)}
    rows: list[Any] = [[block, block in turns, turns.get(block)] for block in range(record.removal.n_blocks)]
    return wandb.Table(columns=["block", "removed", "order"], data=rows)
