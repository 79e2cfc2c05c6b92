"""The parts of records that a job's configuration, its scores and its machine make up."""

import resource
from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import fmean

from deprune.core.build import name_of
from deprune.downstream.scoring import ScoresByScorer
from deprune.record.schema import (
    ACCURACY,
    FAILURE_SCHEMA_VERSION,
    Factors,
    FailureRecord,
    MetricRow,
    Provenance,
    Scores,
)  # fmt: skip
from deprune.run.cli import explain
from deprune.run.config import RunConfig
from deprune.run.environment import describe_environment
from deprune.run.identity import ResolvedRun


def factors_of(config: RunConfig, run: ResolvedRun) -> Factors:
    """Returns what a job varies."""
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


def scores_of(scores: ScoresByScorer, dense_scores: ScoresByScorer) -> Scores:
    """Returns the rows of the pruned model, each beside that of the dense one."""
    rows = []
    for key, own in scores.items():
        dense = {(score.task, score.metric): score for score in dense_scores[key]}
        for score in own:
            beside = dense.get((score.task, score.metric))
            said = {name: value for name, value in vars(score).items() if name != "items"}
            values = (None, None) if beside is None else (beside.value, beside.stderr)
            rows.append(MetricRow(scorer=key, dense_value=values[0], dense_stderr=values[1], **said))
    parts = [row for row in rows if row.response == ACCURACY]
    return Scores(tuple(rows), _mean(row.value for row in parts), _mean(row.dense_value for row in parts))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def provenance_of(config: RunConfig, run: ResolvedRun, warnings: tuple[str, ...], stores: dict[str, str]) -> Provenance:
    """Returns where a run comes from, as of now."""
    return Provenance(
        model_path=config.model.public_path,
        model_revision=run.identity["model"]["revision"],
        warnings=warnings,
        stores=stores,
        environment=describe_environment(run.device),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def peak_memory(device: str) -> int:
    """Returns the peak memory of the device [bytes] since the process started."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_failure(config: RunConfig, run: ResolvedRun, error: Exception, phase: str, log: str) -> FailureRecord:
    """Returns the record of a job that failed in a phase, with its log file relative to the results folder."""
    return FailureRecord(
        schema_version=FAILURE_SCHEMA_VERSION,
        run_id=run.run_id,
        exception=type(error).__name__,
        reason=explain(error),
        phase=phase,
        log=log,
        identity=run.identity,
        factors=factors_of(config, run),
    )
