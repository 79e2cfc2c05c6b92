"""One job from its configuration to its record: the one place where the pieces are joined."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from deprune.core.build import name_of
from deprune.core.errors import DepruneError
from deprune.core.files import require_writable
from deprune.core.fingerprint import digest_of, file_name_of
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.draw import DrawnItems, draw_items, draw_windows
from deprune.data.heldout import check_corpora, window_length
from deprune.data.overlap import corpus_hashes, overlap_warnings, task_hashes
from deprune.data.samples import CalibrationSet
from deprune.data.tasks import check_tasks
from deprune.downstream.efficiency import efficiency, measure_speed
from deprune.downstream.scores import DownstreamEvaluator
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel, load_model, load_tokenizer, read_facts
from deprune.objective.base import Objective
from deprune.objective.shared_context import calibration_set
from deprune.objective.task_error import TaskError
from deprune.record.evaluations import EvaluationStore, open_store
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore
from deprune.run.config import RunConfig
from deprune.run.identity import ResolvedRun, resolve
from deprune.run.recording import EvaluationRun, RunNotes, SearchRun, make_record
from deprune.search.base import Problem, SearchResult
from deprune.tracking import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobResult:
    """The record of a job, and whether it was there before."""

    record: RunRecord
    remembered: bool


@dataclass
class Stopwatch:
    """Seconds by phase.

    Attributes:
        current: The phase that was entered last.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    current: str = "preparation"

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        started, self.current = time.perf_counter(), name
        try:
            yield
        finally:
            spent = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.seconds[name] = round(spent, 3)


def prepare(config: RunConfig) -> ResolvedRun:
    """Returns what a job comes to, without loading a model or data.

    Raises:
        DepruneError: The configuration cannot be run; the message says why.
    """
    check_tasks(config.eval.tasks)
    check_corpora(config.eval.corpora)
    return resolve(config, read_facts(config.model))


def run_job(config: RunConfig, run: ResolvedRun, sweep: str, watch: Stopwatch) -> JobResult:
    """Runs one job, unless its record exists.

    Args:
        config: What to do.
        run: What `prepare` made of it.
        sweep: Name of the sweep that the job belongs to.
        watch: Takes the time of each phase.

    Raises:
        DepruneError: The job cannot be done; the message says why. Nothing was recorded.
    """
    store = ResultStore(config.results_dir)
    require_writable(config.results_dir)
    if not config.force and (found := store.get(run.run_id)):
        return JobResult(found, remembered=True)
    with watch.phase("calibration"):
        drawn = _draw(config, run)
    with watch.phase("model"):
        loaded = load_model(config.model, run.device, run.dtype)
    with watch.phase("calibration"):
        calibration = calibration_set(drawn, loaded.stack) if isinstance(drawn, DrawnItems) else drawn
        warnings = _overlaps(config, loaded, calibration, drawn)
    with watch.phase("search"):
        search = _search(config, run, loaded, calibration)
    with watch.phase("evaluation"):
        evaluation = _evaluate(config, run, loaded, search)
    watch.current = "recording"
    record = make_record(config, run, calibration, search, evaluation, RunNotes(warnings, dict(watch.seconds)))
    path = store.put(record)
    track(config.tracking, record, path, config.results_dir, sweep)
    return JobResult(record, remembered=False)


def _draw(config: RunConfig, run: ResolvedRun) -> CalibrationSet | DrawnItems:
    draw = draw_items if config.objective.needs_items else draw_windows
    return draw(config.calib, run.seq_len, load_tokenizer(config.model), config.model.label)


def _overlaps(
    config: RunConfig, loaded: LoadedModel, calibration: CalibrationSet, drawn: CalibrationSet | DrawnItems
) -> tuple[str, ...]:
    """Returns, and logs, what the calibration and the evaluation data have in common."""
    evaluated = [task_hashes(task, config.eval.limit, loaded.tokenizer) for task in config.eval.tasks]
    length = window_length(loaded.facts.context)
    evaluated += [corpus_hashes(c, length, config.eval.windows, loaded.tokenizer) for c in config.eval.corpora]
    items = drawn.items if isinstance(drawn, DrawnItems) else ()
    warnings = tuple(overlap_warnings(calibration, items, evaluated))
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def _search(config: RunConfig, run: ResolvedRun, loaded: LoadedModel, calibration: CalibrationSet) -> SearchRun:
    store = _store(config, run, loaded, config.objective)
    evaluator = SubsetEvaluator(loaded.stacks, calibration, config.objective, config.evaluator, store)
    dense = BlockSubset(run.space.n_blocks)
    result = SearchResult(dense, ())
    with tqdm(desc=name_of(config.search), unit=" subsets", leave=False, delay=1) as bar:
        problem = Problem(run.space, evaluator, bar)
        if run.space.budget:
            result = config.search.run(problem, generator(config.seed, "search", name_of(config.search)))
        if result.subset not in run.space:
            raise AssertionError(f"the search {name_of(config.search)} returned {result.subset}, outside its space")
        problem.losses([result.subset])
    pruned, reference = evaluator.evaluate([result.subset, dense])
    for which, evaluation in (("dense", reference), ("pruned", pruned)):
        if not math.isfinite(evaluation.loss):
            raise DepruneError(
                f"The loss of the {which} model on {config.calib.name} is not finite; use dtype=float32 or "
                "bfloat16, and check that the weights are whole."
            )
    return SearchRun(
        result=result,
        pruned=pruned,
        dense=reference,
        accuracies=_accuracies(config, run, loaded, calibration, result.subset),
        trace=problem.trace,
        counter=evaluator.counter,
        n_damaged=store.n_damaged,
        stores={"evaluations": store.name, "samples": evaluator.name_samples()},
    )


def _accuracies(
    config: RunConfig, run: ResolvedRun, loaded: LoadedModel, calibration: CalibrationSet, subset: BlockSubset
) -> tuple[float, float] | None:
    """Returns the accuracy of the pruned and the dense model on calibration items; None where there are none."""
    if calibration.answers is None:
        return None
    error = TaskError()
    store = _store(config, run, loaded, error)
    evaluator = SubsetEvaluator(loaded.stacks, calibration, error, config.evaluator, store)
    pruned, dense = evaluator.losses([subset, BlockSubset(subset.n_blocks)])
    return 1 - pruned, 1 - dense


def _store(config: RunConfig, run: ResolvedRun, loaded: LoadedModel, objective: Objective) -> EvaluationStore:
    """Returns the store of all evaluations that may be compared with this run's.

    Everything that can change a loss is in its name, but for the samples and the subset.
    """
    context = {
        **run.identity["model"],
        "attention": loaded.stack.model.config._attn_implementation,
        "device": run.device.partition(":")[0],
        "objective": objective.identity(),
    }
    name = f"{file_name_of(config.model.label)}-{name_of(objective)}-{digest_of(context)}"
    return open_store(config.results_dir / "evaluations" / name, fresh=config.force)


def _evaluate(config: RunConfig, run: ResolvedRun, loaded: LoadedModel, search: SearchRun) -> EvaluationRun:
    downstream = DownstreamEvaluator(config.results_dir, loaded, config.model.label, config.eval, fresh=config.force)
    subset = search.pruned.subset
    return EvaluationRun(
        dense_scores=downstream.evaluate(search.dense.subset),
        scores=downstream.evaluate(subset),
        efficiency=efficiency(loaded, subset, window_length(loaded.facts.context)),
        speed=measure_speed(loaded, subset) if config.eval.speed else {},
        folder=downstream.folder,
    )
