"""From what a job found to its record."""

from __future__ import annotations

import resource
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import fmean

from deprune.core.build import name_of
from deprune.data.samples import CalibrationSet
from deprune.downstream.scoring import Scores
from deprune.evaluator.base import Evaluation, EvaluationCounter
from deprune.record.schema import (
    ACCURACY,
    FAILURE_SCHEMA_VERSION,
    SCHEMA_VERSION,
    Cost,
    Draw,
    Factors,
    FailureRecord,
    MetricRow,
    Provenance,
    Removal,
    RunRecord,
    SearchFacts,
)
from deprune.record.schema import Scores as RecordedScores
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
class ScoringRun:
    """What scoring the pruned model gave.

    Attributes:
        scores: Rows by scorer.
        dense_scores: Those of the dense model.
        file: Where the rows lie with the values of single items.
    """

    scores: Scores
    dense_scores: Scores
    file: str


@dataclass(frozen=True)
class RunNotes:
    """What else a record says: warnings, and seconds by phase."""

    warnings: tuple[str, ...]
    seconds: dict[str, float]


def make_record(
    config: RunConfig,
    run: ResolvedRun,
    calibration: CalibrationSet,
    search: SearchRun,
    scoring: ScoringRun,
    notes: RunNotes,
) -> RunRecord:
    """Returns the record of a finished job."""
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run.run_id,
        status="done",
        identity=run.identity,
        factors=_factors(config, run),
        draw=Draw(
            sample_id=calibration.sample_id,
            token_hash=calibration.token_hash,
            draw_id=f"{config.calib.name}/seed {config.calib.seed}/{config.model.label}",
            n_tokens=calibration.n_tokens,
        ),
        removal=_removal(config, run, search),
        scores=_scores(scoring),
        cost=Cost(
            n_evals=search.counter.requested,
            evaluations={**asdict(search.counter), "damaged_lines": search.n_damaged},
            seconds=notes.seconds,
            peak_memory_bytes=_peak_memory(run.device),
        ),
        provenance=Provenance(
            model_path=config.model.public_path,
            model_revision=run.identity["model"]["revision"],
            warnings=notes.warnings,
            stores={**search.stores, "downstream": scoring.file},
            environment=describe_environment(run.device),
            written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )


def _factors(config: RunConfig, run: ResolvedRun) -> Factors:
    return Factors(
        model=config.model.label,
        budget=run.space.budget,
        calib_dataset=config.calib.name,
        objective=name_of(config.objective),
        calib_samples=config.calib.n_samples,
        calib_seq_len=run.seq_len,
        search=name_of(config.search) if run.space.budget else "dense",
        treatment=name_of(config.treat),
        calib_seed=config.calib.seed,
        search_seed=run.search_seed,
    )


def _removal(config: RunConfig, run: ResolvedRun, search: SearchRun) -> Removal:
    accuracy, dense_accuracy = search.accuracies or (None, None)
    return Removal(
        n_blocks=run.space.n_blocks,
        subset=search.pruned.subset.bits(),
        order=search.result.order,
        unit=config.objective.unit,
        loss=search.pruned.loss,
        stderr=search.pruned.stderr,
        dense_loss=search.dense.loss,
        accuracy=accuracy,
        dense_accuracy=dense_accuracy,
        trace=tuple(asdict(point) for point in search.trace),
        racing="racing" in run.identity,
        search=SearchFacts(**config.search.facts()) if run.space.budget else None,
    )


def _scores(scoring: ScoringRun) -> RecordedScores:
    rows = []
    for key, scores in scoring.scores.items():
        dense = {(score.task, score.metric): score for score in scoring.dense_scores[key]}
        for score in scores:
            beside = dense.get((score.task, score.metric))
            own = {name: value for name, value in vars(score).items() if name != "items"}
            rows.append(
                MetricRow(
                    scorer=key,
                    dense_value=beside.value if beside else None,
                    dense_stderr=beside.stderr if beside else None,
                    **own,
                )
            )
    parts = [row for row in rows if row.response == ACCURACY]
    values = [row.value for row in parts if row.value is not None]
    dense_values = [row.dense_value for row in parts if row.dense_value is not None]
    return RecordedScores(
        metrics=tuple(rows),
        accuracy=fmean(values) if values else None,
        dense_accuracy=fmean(dense_values) if dense_values else None,
    )


def _peak_memory(device: str) -> int:
    """Returns the peak memory of the device [bytes] since the process started."""
    if device.startswith("cuda"):
        import torch

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
        identity=run.identity,
        factors=_factors(config, run),
    )
