"""One job from its configuration to its record: the one place where the pieces are joined."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deprune.core.build import name_of
from deprune.core.errors import DepruneError
from deprune.core.files import require_writable
from deprune.core.fingerprint import digest_of, file_name_of
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.record import ResultStore, RunRecord
from deprune.record.evaluations import EvaluationStore
from deprune.run.config import RunConfig
from deprune.run.identity import ResolvedRun, resolve
from deprune.run.session import Session
from deprune.search.base import Problem, SearchResult
from deprune.tracking import track

if TYPE_CHECKING:
    from deprune.data.draw import DrawnItems
    from deprune.data.samples import CalibrationSet
    from deprune.model.load import LoadedModel
    from deprune.model.pruned import PrunedModel
    from deprune.objective.base import Objective
    from deprune.run.recording import ScoringRun, SearchRun

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


def prepare(config: RunConfig, session: Session) -> ResolvedRun:
    """Returns what a job comes to, without loading a model.

    Raises:
        DepruneError: The configuration cannot be run; the message says why.
    """
    run = resolve(config, session.facts(config.model, config.results_dir))
    if config.force or not ResultStore(config.results_dir).path(run.run_id).is_file():
        for scorer in config.eval.scorers.values():
            scorer.check(session.memory)
    return run


def run_job(config: RunConfig, run: ResolvedRun, sweep: str, watch: Stopwatch, session: Session) -> JobResult:
    """Runs one job, unless its record exists.

    Args:
        config: What to do.
        run: What `prepare` made of it.
        sweep: Name of the sweep that the job belongs to.
        watch: Takes the time of each phase.
        session: Holds what earlier jobs loaded and built.

    Raises:
        DepruneError: The job cannot be done; the message says why. Nothing was recorded.
    """
    store = ResultStore(config.results_dir)
    require_writable(config.results_dir)
    session.keep_facts(config.model, config.results_dir)
    if not config.force and (found := store.get(run.run_id)):
        return JobResult(found, remembered=True)
    from deprune.model.pruned import PrunedModel
    from deprune.run.recording import RunNotes, make_record

    with watch.phase("calibration"):
        drawn = _draw(config, run, session)
    with watch.phase("model"):
        loaded = session.model(config.model, run.device, run.dtype)
    with watch.phase("calibration"):
        calibration = _calibration_set(drawn, loaded)
        warnings = _overlaps(config, loaded, calibration, drawn, session)
    with watch.phase("search"):
        search = _search(config, run, loaded, calibration, session)
    with watch.phase("treatment"):
        rng = generator(config.seed, "treatment", name_of(config.treat))
        pruned = config.treat.treated(PrunedModel(loaded, search.pruned.subset), calibration, rng)
    with watch.phase("evaluation"):
        scoring = _score(config, pruned, PrunedModel(loaded, search.dense.subset), session)
    watch.current = "recording"
    record = make_record(config, run, calibration, search, scoring, RunNotes(warnings, dict(watch.seconds)))
    path = store.put(record)
    track(config.tracking, record, path, config.results_dir, sweep)
    return JobResult(record, remembered=False)


def _draw(config: RunConfig, run: ResolvedRun, session: Session) -> CalibrationSet | DrawnItems:
    from deprune.data.draw import draw_items, draw_windows
    from deprune.model.source import load_tokenizer

    tokenizer, memory = session.memory.once(load_tokenizer, config.model), session.memory
    args = config.calib, run.seq_len, tokenizer, config.model.label, memory
    return memory.once(draw_items, *args) if config.objective.needs_items else memory.once(draw_windows, *args)


def _calibration_set(drawn: CalibrationSet | DrawnItems, loaded: LoadedModel) -> CalibrationSet:
    from deprune.data.draw import DrawnItems
    from deprune.objective.shared_context import calibration_set

    if isinstance(drawn, DrawnItems):
        return loaded.memory.once(calibration_set, drawn, loaded.stack)
    return drawn


def _overlaps(
    config: RunConfig,
    loaded: LoadedModel,
    calibration: CalibrationSet,
    drawn: CalibrationSet | DrawnItems,
    session: Session,
) -> tuple[str, ...]:
    """Returns, and logs, what the calibration and the evaluation data have in common."""
    from deprune.data.draw import DrawnItems
    from deprune.data.overlap import overlap_warnings

    evaluated = [text for scorer in config.eval.scorers.values() for text in scorer.texts(loaded, session.memory)]
    items = drawn.items if isinstance(drawn, DrawnItems) else ()
    warnings = tuple(overlap_warnings(calibration, items, evaluated))
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def _search(
    config: RunConfig, run: ResolvedRun, loaded: LoadedModel, calibration: CalibrationSet, session: Session
) -> SearchRun:
    from tqdm import tqdm

    from deprune.evaluator.evaluator import SubsetEvaluator
    from deprune.run.recording import SearchRun

    store = _store(config, loaded, config.objective, session)
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
        accuracies=_accuracies(config, loaded, calibration, result.subset, session),
        trace=problem.trace,
        counter=evaluator.counter,
        n_damaged=store.n_damaged,
        stores={"evaluations": store.name, "samples": evaluator.name_samples()},
    )


def _accuracies(
    config: RunConfig, loaded: LoadedModel, calibration: CalibrationSet, subset: BlockSubset, session: Session
) -> tuple[float, float] | None:
    """Returns the accuracy of the pruned and the dense model on calibration items; None where there are none."""
    from deprune.evaluator.evaluator import SubsetEvaluator
    from deprune.objective.task_error import TaskError

    if calibration.answers is None:
        return None
    error = TaskError()
    store = _store(config, loaded, error, session)
    evaluator = SubsetEvaluator(loaded.stacks, calibration, error, config.evaluator, store)
    pruned, dense = evaluator.losses([subset, BlockSubset(subset.n_blocks)])
    return 1 - pruned, 1 - dense


def _store(config: RunConfig, loaded: LoadedModel, objective: Objective, session: Session) -> EvaluationStore:
    """Returns the store of all evaluations that may be compared with this run's.

    Everything that can change a loss is in its name, but for the samples and the subset.
    """
    context = {**loaded.identity(), "objective": objective.identity()}
    name = f"{file_name_of(config.model.label)}-{name_of(objective)}-{digest_of(context)}"
    return session.store(config.results_dir / "evaluations" / name, fresh=config.force)


def _score(config: RunConfig, pruned: PrunedModel, dense: PrunedModel, session: Session) -> ScoringRun:
    from deprune.downstream.scoring import score_models, scores_file
    from deprune.run.recording import ScoringRun

    folder = config.results_dir / "downstream"
    models = [dense, pruned]
    of_dense, of_pruned = score_models(models, config.eval.scorers, folder, session.memory, fresh=config.force)
    return ScoringRun(of_pruned, of_dense, scores_file(pruned))
