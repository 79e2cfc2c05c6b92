"""From the jobs of a grid to what they take together."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deprune.core.build import name_of
from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.corpus import SampleSize
from deprune.data.draw import draw_items
from deprune.model.source import load_tokenizer
from deprune.planning.architecture import Architecture, architecture_of
from deprune.planning.counting import CountingEvaluator, CountingStack, Work
from deprune.planning.hardware import JOB_SECONDS, START_SECONDS, Planned, Rates
from deprune.planning.jobs import PlannedJob
from deprune.record.evaluations import EvaluationStore
from deprune.record.store import ResultStore
from deprune.run.cli import explain
from deprune.run.config import RunConfig
from deprune.run.identity import resolve
from deprune.search.base import Problem

if TYPE_CHECKING:
    from deprune.data.corpus import ItemTokens


@dataclass
class Forecast:
    """What the jobs of a grid take.

    Attributes:
        n_jobs: Number of jobs.
        n_done: Number of them whose records exist.
        n_repeated: Number of those that ask for what an earlier one does.
        faults: Jobs that cannot be run, by the reason.
        models: The models, by name.
        undated: Models whose commit is not known here, so that nobody can say whether their jobs are done.
        work: What evaluating takes, by search.
        jobs: Number of jobs to run, by search.
        searching: Seconds of evaluating and choosing, by search.
        seconds: Seconds by phase.
        n_scored: Number of pruned and dense models that are scored.
        memory: Most memory that a job needs [byte], with its model.
        notes: What else one must know to read the numbers.
    """

    n_jobs: int = 0
    n_done: int = 0
    n_repeated: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, Architecture] = field(default_factory=dict)
    undated: set[str] = field(default_factory=set)
    work: dict[str, Work] = field(default_factory=dict)
    jobs: Counter[str] = field(default_factory=Counter)
    searching: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    n_scored: int = 0
    memory: tuple[float, str] = (0.0, "")
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def total_work(self) -> Work:
        """What evaluating takes in all jobs."""
        return sum(self.work.values(), Work())

    @property
    def total_seconds(self) -> float:
        """Seconds of all jobs, one after the other, in one process."""
        return START_SECONDS + sum(self.seconds.values())


Adapt = Callable[[RunConfig], RunConfig]
"""Changes a job's device and type to those that are planned for."""


class Forecaster:
    """Goes through jobs in their order and adds up what they take, remembering what a sweep would."""

    def __init__(self, rates: Rates, adapt: Adapt) -> None:
        self.forecast = Forecast()
        self._rates = rates
        self._adapt = adapt
        self._memory = Memory()
        self._stores: defaultdict[str, EvaluationStore] = defaultdict(lambda: EvaluationStore(None))
        self._model: str | None = None
        self._scored, self._seen, self._drawn = set[str](), set[str](), set[str]()

    def add_all(self, jobs: Iterable[PlannedJob]) -> Forecast:
        """Adds jobs and returns the forecast."""
        for job in jobs:
            self.forecast.n_jobs += 1
            fault = job.fault
            if job.config is not None:
                try:
                    self._add(job.config)
                except Exception as error:
                    fault = explain(error)
            if fault is not None:
                self.forecast.faults.setdefault(fault, []).append(job.overrides)
        return self.forecast

    def _add(self, planned: RunConfig) -> None:
        config = self._adapt(planned)
        architecture = self._memory.once(architecture_of, config.model)
        job = self._sized(config, architecture)
        self.forecast.models[config.model.label] = architecture
        if not architecture.facts.revision:
            self.forecast.undated.add(config.model.label)
        if job.run.run_id in self._seen:
            self.forecast.n_repeated += 1
            return
        work, subset = self._rehearse(job)
        self._seen.add(job.run.run_id)
        scored = self._newly_scored(job, subset)
        if not config.force and self._is_done(planned, architecture):
            self.forecast.n_done += 1
            return
        self._count(job, work, scored)

    def _sized(self, config: RunConfig, architecture: Architecture) -> Planned:
        """Returns a job with the sizes that its corpus and its scorers tell.

        Raises:
            DepruneError: It cannot be.
        """
        context, memory = architecture.facts.context, self._memory
        sizes = {key: scorer.size(config.model, context, memory) for key, scorer in config.eval.scorers.items()}
        run = resolve(config, architecture.facts)

        def draw() -> Sequence[ItemTokens]:
            tokenizer = memory.once(load_tokenizer, config.model)
            args = config.calib, run.seq_len, tokenizer, config.model.label, memory
            return memory.once(draw_items, *args).identifying

        sample = SampleSize(run.seq_len, run.seq_len - 1)
        if config.objective.needs_items:
            sample = config.calib.corpus.item_size(run.seq_len, draw)
        return Planned(config, run, architecture, sample, sizes)

    def _is_done(self, config: RunConfig, architecture: Architecture) -> bool:
        """Whether there is a record, of whichever type `auto` stands for on the machine that ran the job."""
        dtypes = ("bfloat16", "float32") if config.dtype == "auto" else (config.dtype,)
        runs = [resolve(dataclasses.replace(config, device="cpu", dtype=d), architecture.facts) for d in dtypes]
        return any(ResultStore(config.results_dir).path(run.run_id).is_file() for run in runs)

    def _rehearse(self, job: Planned) -> tuple[Work, BlockSubset]:
        """Does what a job does with its search and its evaluators; returns their work, and what was found."""
        search, space, objective = job.config.search, job.run.space, job.config.objective
        evaluator = self._evaluator(job, objective.identity(), needs_dense=objective.needs_dense)
        problem, found = Problem(space, evaluator), BlockSubset(space.n_blocks)
        if space.budget:
            found = search.rehearse(problem, generator(job.config.seed, "search", name_of(search))).subset
        problem.losses([found])
        compared = [found, BlockSubset(space.n_blocks)]
        evaluator.losses(compared)
        if objective.needs_items:
            accuracies = self._evaluator(job, {"accuracy": True})
            accuracies.losses(compared)
            return evaluator.work + accuracies.work, found
        return evaluator.work, found

    def _evaluator(self, job: Planned, objective: dict[str, Any], *, needs_dense: bool = False) -> CountingEvaluator:
        identity, config = job.run.identity, job.config
        model = digest_of([identity["model"], objective])
        draw = digest_of({k: v for k, v in identity["calib"].items() if k != "n_samples"})
        stack = CountingStack(job.run.space.n_blocks, config.calib.n_samples, model, draw)
        # How many candidates racing would drop cannot be foreseen.
        how = dataclasses.replace(config.evaluator, batch_size=job.batch_size(self._rates.memory), racing=False)
        return CountingEvaluator(stack, how, self._stores[model], needs_dense=needs_dense)

    def _newly_scored(self, job: Planned, subset: BlockSubset) -> list[BlockSubset]:
        """Returns which of the dense and the pruned model nobody has scored yet."""
        if not any(scorer.is_kept and scorer.subjects() for scorer in job.config.eval.scorers.values()):
            return []
        of = job.run.identity
        names = {
            digest_of([of["model"], of["eval"], treatment, each.bits()]): each
            for each, treatment in ((BlockSubset(subset.n_blocks), None), (subset, of.get("treat")))
        }
        new = [each for name, each in names.items() if name not in self._scored]
        self._scored.update(names)
        return new

    def _count(self, job: Planned, work: Work, scored: list[BlockSubset]) -> None:
        forecast, rates, search = self.forecast, self._rates, name_of(job.config.search)
        if job.config.model.label != self._model:
            self._model = job.config.model.label
            forecast.seconds["loading models"] += rates.loading(job)
        draw = digest_of([job.config.model.label, job.run.identity["calib"]])
        if draw not in self._drawn:
            self._drawn.add(draw)
            forecast.seconds["drawing calibration sets"] += rates.drawing(job)
        batch_size = job.batch_size(rates.memory)
        block, head = rates.passes(job, batch_size) if work.computed else (0.0, 0.0)
        searching = work.block_passes * block + work.head_passes * head + rates.choosing(job)
        forecast.jobs[search] += 1
        forecast.searching[search] += searching
        forecast.work[search] = forecast.work.get(search, Work()) + work
        forecast.seconds["searching"] += searching
        forecast.seconds["scoring pruned models"] += sum(rates.scoring(job, s) for s in scored)
        forecast.seconds["everything else"] += JOB_SECONDS
        forecast.n_scored += len(scored)
        forecast.memory = max(forecast.memory, (job.memory(batch_size), job.config.model.label))
        self._note(job)

    def _note(self, job: Planned) -> None:
        unknown = [subject for size in job.sizes.values() for subject in size.unknown]
        notes = [f"The size of {subject} is not known here; it is left out." for subject in unknown]
        if job.config.evaluator.racing:
            notes.append("Racing will drop candidates that are counted here, so searches take less.")
        self.forecast.notes.update(dict.fromkeys(notes))


def adapted_to_gpu(config: RunConfig) -> RunConfig:
    """Returns the job as it would be on a GPU, without asking whether one is here."""
    dtype = "bfloat16" if config.dtype == "auto" else config.dtype
    return dataclasses.replace(config, device="cpu", dtype=dtype)
