"""From what a job found to its record."""

from __future__ import annotations

import resource
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import fmean

import torch

from deprune.core.build import name_of
from deprune.core.fingerprint import digest_of
from deprune.data.samples import CalibrationSet
from deprune.downstream.scores import LOG_PERPLEXITY, TaskScores
from deprune.evaluator.base import Evaluation, EvaluationCounter
from deprune.record.schema import FAILURE_SCHEMA_VERSION, SCHEMA_VERSION, FailureRecord, MetricRow, RunRecord
from deprune.run.cli import explain
from deprune.run.config import RunConfig
from deprune.run.environment import describe_environment
from deprune.run.identity import ResolvedRun
from deprune.search.base import SearchResult, TracePoint


@dataclass(frozen=True)
class SearchRun:
    """What searching gave.

    Attributes:
        result: The subset.
        pruned: Its evaluation.
        dense: That of the dense model on the same samples.
        accuracies: For calibration items, the accuracy on them, pruned and dense.
        trace: Improvements on the way.
        counter: What it cost.
        n_damaged: Damaged lines met in the store.
        stores: The folder of evaluations, and the name of the samples there.
    """

    result: SearchResult
    pruned: Evaluation
    dense: Evaluation
    accuracies: tuple[float, float] | None
    trace: list[TracePoint]
    counter: EvaluationCounter
    n_damaged: int
    stores: dict[str, str]


@dataclass(frozen=True)
class EvaluationRun:
    """What evaluating the pruned model gave.

    Attributes:
        scores: Scores by task or corpus.
        dense_scores: Those of the dense model.
        efficiency: Parameters and operations.
        speed: Tokens per second, where they were measured.
        folder: The folder of per-item results.
    """

    scores: dict[str, TaskScores]
    dense_scores: dict[str, TaskScores]
    efficiency: dict[str, float]
    speed: dict[str, float]
    folder: str


@dataclass(frozen=True)
class RunNotes:
    """What else a record says: warnings, and seconds by phase."""

    warnings: tuple[str, ...]
    seconds: dict[str, float]


def _metric_rows(scores: dict[str, TaskScores], dense: dict[str, TaskScores]) -> tuple[MetricRow, ...]:
    return tuple(
        MetricRow(
            task=task,
            metric=metric,
            value=scored.metrics[metric].value,
            stderr=scored.metrics[metric].stderr,
            dense_value=dense[task].metrics[metric].value,
            dense_stderr=dense[task].metrics[metric].stderr,
            n_items=scored.n_items,
            item_set=scored.item_set,
            version=scored.version,
            higher_is_better=metric != LOG_PERPLEXITY,
        )
        for task, scored in scores.items()
        for metric in scored.metrics
    )


def make_record(
    config: RunConfig,
    run: ResolvedRun,
    calibration: CalibrationSet,
    search: SearchRun,
    evaluation: EvaluationRun,
    notes: RunNotes,
) -> RunRecord:
    """Returns the record of a finished job."""
    metrics = _metric_rows(evaluation.scores, evaluation.dense_scores)
    objective, subset = name_of(config.objective), search.pruned.subset
    accuracies = [row for row in metrics if row.metric == "acc"]
    draw = f"{config.calib.name}/seed {config.calib.seed}/{config.model.label}"
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run.run_id,
        identity=run.identity,
        model=config.model.label,
        model_path=config.model.public_path,
        model_revision=run.identity["model"]["revision"],
        n_blocks=run.space.n_blocks,
        calib_dataset=config.calib.name,
        calib_config=f"{objective} {config.calib.name} n{config.calib.n_samples} L{run.seq_len}",
        calib_samples=config.calib.n_samples,
        calib_seq_len=run.seq_len,
        calib_tokens=calibration.n_tokens,
        calib_seed=config.calib.seed,
        calib_sample_id=calibration.sample_id,
        calib_token_hash=calibration.token_hash,
        draw_id=draw,
        objective=objective,
        unit=config.objective.unit,
        search=_search_name(config, run),
        search_seed=run.search_seed,
        budget=run.space.budget,
        budget_frac=run.space.budget / run.space.n_blocks,
        is_dense=run.space.budget == 0,
        status="done",
        subset=subset.bits(),
        subset_hash=digest_of(subset.bits()),
        removed=search.result.order,
        calib_value=search.pruned.loss,
        calib_stderr=search.pruned.stderr,
        calib_value_dense=search.dense.loss,
        trace=tuple(asdict(point) for point in search.trace),
        n_evals=search.counter.requested,
        racing="racing" in run.identity,
        calib_accuracy=search.accuracies[0] if search.accuracies else None,
        calib_accuracy_dense=search.accuracies[1] if search.accuracies else None,
        metrics=metrics,
        accuracy=fmean(row.value for row in accuracies if row.value is not None) if accuracies else None,
        accuracy_dense=fmean(row.dense_value for row in accuracies) if accuracies else None,
        efficiency=evaluation.efficiency,
        warnings=notes.warnings,
        stores={**search.stores, "downstream": evaluation.folder},
        measured={
            "seconds": notes.seconds,
            **({"speed": evaluation.speed} if evaluation.speed else {}),
            "evaluations": {**asdict(search.counter), "damaged_lines": search.n_damaged},
            "peak_memory_bytes": _peak_memory(run.device),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        environment=describe_environment(run.device),
    )


def _peak_memory(device: str) -> int:
    """Returns the peak memory of the device [bytes] since the process started."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_failure(config: RunConfig, run: ResolvedRun, error: Exception, phase: str, log: str) -> FailureRecord:
    """Returns the record of a job that failed.

    Args:
        config: What it was told.
        run: What that came to.
        error: What stopped it.
        phase: What it was doing.
        log: Its log file, relative to the results folder.
    """
    return FailureRecord(
        schema_version=FAILURE_SCHEMA_VERSION,
        run_id=run.run_id,
        exception=type(error).__name__,
        reason=explain(error),
        phase=phase,
        log=log,
        model=config.model.label,
        calib_dataset=config.calib.name,
        calib_samples=config.calib.n_samples,
        calib_seq_len=run.seq_len,
        calib_seed=config.calib.seed,
        objective=name_of(config.objective),
        search=_search_name(config, run),
        search_seed=run.search_seed,
        budget=run.space.budget,
    )


def _search_name(config: RunConfig, run: ResolvedRun) -> str:
    return name_of(config.search) if run.space.budget else "dense"
