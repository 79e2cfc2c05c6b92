"""One job from its configuration to its record: the one place where the pieces are joined."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import fmean

import torch

from deprune.calib.base import CalibrationSet
from deprune.calib.draw import draw_windows
from deprune.config import RunConfig, name_of
from deprune.downstream import METRICS, DownstreamEvaluator, TaskScores, check_tasks
from deprune.environment import describe_environment
from deprune.errors import DepruneError
from deprune.evaluator.base import Evaluation, EvaluationCounter
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.store import EvaluationStore
from deprune.files import require_writable
from deprune.fingerprint import digest_of, file_name_of
from deprune.identity import ResolvedRun, resolve
from deprune.model.load import LoadedModel, load_model, load_tokenizer, read_facts
from deprune.randomness import generator
from deprune.record import MetricRow, ResultStore, RunRecord
from deprune.search.base import Problem, SearchResult
from deprune.subset import BlockSubset
from deprune.tracking import track


@dataclass(frozen=True)
class JobResult:
    """The record of a job, and whether it was there before."""

    record: RunRecord
    remembered: bool


@dataclass
class Stopwatch:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.seconds[name] = round(spent, 3)


@dataclass(frozen=True)
class SearchRun:
    """What searching gave: the result, its loss, the dense loss, what they cost, damaged lines met."""

    result: SearchResult
    pruned: Evaluation
    dense: Evaluation
    problem: Problem
    counter: EvaluationCounter
    n_damaged: int


def run_job(config: RunConfig, sweep: str) -> JobResult:
    """Runs one job, unless its record exists.

    Args:
        config: What to do.
        sweep: Name of the sweep that the job belongs to.

    Raises:
        DepruneError: The job cannot be done; the message says why. Nothing was recorded.
    """
    store = ResultStore(config.results_dir)
    require_writable(config.results_dir)
    check_tasks(config.eval.tasks)
    run = resolve(config, read_facts(config.model))
    if not config.force and (found := store.get(run.run_id)):
        return JobResult(found, remembered=True)
    watch = Stopwatch()
    with watch.phase("calibration"):
        tokenizer = load_tokenizer(config.model)
        calibration = draw_windows(config.calib, run.seq_len, tokenizer, config.model.label)
    with watch.phase("model"):
        loaded = load_model(config.model, run.device, run.dtype)
    with watch.phase("search"):
        search = _search(config, run, loaded, calibration)
    with watch.phase("evaluation"):
        downstream = DownstreamEvaluator(
            config.results_dir, loaded, config.model.label, config.eval, fresh=config.force
        )
        dense_scores = downstream.evaluate(search.dense.subset)
        scores = downstream.evaluate(search.pruned.subset)
    record = _record(config, run, calibration, search, _metric_rows(scores, dense_scores), watch)
    path = store.put(record)
    track(config.tracking, record, path, config.results_dir, sweep)
    return JobResult(record, remembered=False)


def _search(config: RunConfig, run: ResolvedRun, loaded: LoadedModel, calibration: CalibrationSet) -> SearchRun:
    folder = config.results_dir / "evaluations" / _evaluation_context(config, run, loaded)
    store = EvaluationStore(folder, fresh=config.force)
    evaluator = SubsetEvaluator(loaded.stack, calibration, config.objective, config.evaluator, store)
    problem = Problem(run.space, lambda subsets: [e.loss for e in evaluator.evaluate(subsets)])
    dense = BlockSubset(run.space.n_blocks)
    if run.space.budget:
        rng = generator(config.seed, "search", name_of(config.search))
        result = config.search.run(problem, rng)
    else:
        result = SearchResult(dense, ())
    if result.subset not in run.space:
        raise AssertionError(f"the search {name_of(config.search)} returned {result.subset}, outside its space")
    problem.losses([result.subset])
    pruned, reference = evaluator.evaluate([result.subset, dense])
    store.close()
    for which, evaluation in (("dense", reference), ("pruned", pruned)):
        if not math.isfinite(evaluation.loss):
            raise DepruneError(
                f"The loss of the {which} model on {config.calib.name} is not finite; use dtype=float32 or "
                "bfloat16, and check that the weights are whole."
            )
    return SearchRun(result, pruned, reference, problem, evaluator.counter, store.n_damaged)


def _evaluation_context(config: RunConfig, run: ResolvedRun, loaded: LoadedModel) -> str:
    """Returns the name of the folder of all evaluations that may be compared with this run's.

    Everything that can change a loss is in it, but for the samples and the subset.
    """
    context = {
        **run.identity["model"],
        "attention": loaded.stack.model.config._attn_implementation,
        "device": run.device.partition(":")[0],
        "objective": run.identity["objective"],
    }
    return f"{file_name_of(config.model.label)}-{name_of(config.objective)}-{digest_of(context)}"


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
            higher_is_better=True,
        )
        for task, scored in scores.items()
        for metric in METRICS
        if metric in scored.metrics
    )


def _record(
    config: RunConfig,
    run: ResolvedRun,
    calibration: CalibrationSet,
    search: SearchRun,
    metrics: tuple[MetricRow, ...],
    watch: Stopwatch,
) -> RunRecord:
    objective, subset = name_of(config.objective), search.pruned.subset
    accuracies = [row for row in metrics if row.metric == "acc"]
    draw = f"{config.calib.name}/seed {config.calib.seed}/{config.model.label}"
    return RunRecord(
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
        calib_tokens=calibration.ids_BT.numel(),
        calib_seed=config.calib.seed,
        calib_sample_id=calibration.sample_id,
        calib_token_hash=calibration.token_hash,
        draw_id=draw,
        objective=objective,
        unit=config.objective.unit,
        search=name_of(config.search) if run.space.budget else "dense",
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
        trace=tuple(asdict(point) for point in search.problem.trace),
        n_evals=search.counter.requested,
        racing=False,
        calib_accuracy=None,
        calib_accuracy_dense=None,
        metrics=metrics,
        accuracy=fmean(row.value for row in accuracies) if accuracies else None,
        accuracy_dense=fmean(row.dense_value for row in accuracies) if accuracies else None,
        efficiency={},
        warnings=(),
        stores={},
        measured={
            "seconds": dict(watch.seconds),
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
