"""From the jobs of a grid to what they take together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from deprune.core.build import name_of
from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.corpus import ItemTokens, SampleSize
from deprune.data.draw import draw_items
from deprune.model.rehearsal import remembered
from deprune.model.source import MODELS, load_tokenizer
from deprune.objective.base import Objective
from deprune.objective.task_error import TaskError
from deprune.planning.architecture import Architecture, architecture_of
from deprune.planning.counting import CountingEvaluator, CountingStack, Work
from deprune.planning.hardware import JOB_SECONDS, START_SECONDS, Hardware, Planned
from deprune.planning.jobs import PlannedJob
from deprune.record.evaluations import EvaluationStore
from deprune.record.store import ResultStore
from deprune.run.cli import explain
from deprune.run.config import RunConfig
from deprune.run.identity import resolve
from deprune.search.base import Problem

if TYPE_CHECKING:
    from deprune.planning.timing import ThisMachine


class Forecast:
    """What the jobs of a grid take, added up in their order, with all remembered that a sweep would remember.

    Attributes:
        rates: Those of the device.
        n_done: Number of jobs whose records exist.
        n_repeated: Number of those that ask for what an earlier one does.
        n_scored: Number of pruned and dense models that are scored.
        faults: Jobs that cannot be run, by the reason.
        work: What evaluating and choosing take in the jobs to run, by search.
        seconds: Seconds by phase.
        memory: Most memory that a job needs [byte], with its model.
        notes: What else one must know to read the numbers.
    """

    def __init__(self, rates: Hardware | ThisMachine, jobs: Sequence[PlannedJob]) -> None:
        self.n_jobs = len(jobs)
        self.n_done = self.n_repeated = self.n_scored = 0
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.models: dict[str, Architecture] = {}
        self.work: defaultdict[str, Work] = defaultdict(Work)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.memory = (0.0, "")
        self.notes: dict[str, None] = {}
        self.rates, self._memory = rates, Memory()
        self._stores: defaultdict[str, EvaluationStore] = defaultdict(lambda: EvaluationStore(None))
        self._seen: set[str] = set()
        self._loaded: str | None = None
        for job in jobs:
            self._add(job)

    @property
    def total_seconds(self) -> float:
        """Seconds of all jobs, one after the other, in one process."""
        return START_SECONDS + sum(self.seconds.values())

    def _add(self, job: PlannedJob) -> None:
        fault = job.fault
        if job.config is not None:
            try:
                self._add_config(job.config)
            except Exception as error:
                fault = explain(error)
        if fault is not None:
            self.faults[fault].append(job.overrides)

    def _add_config(self, config: RunConfig) -> None:
        architecture = self._memory.once(architecture_of, config.model)
        job = self._sized(self.rates.adapted(config), architecture)
        self.models[config.model.label] = architecture
        if job.run.run_id in self._seen:
            self.n_repeated += 1
            return
        work, subset = self._rehearse(job)
        self._seen.add(job.run.run_id)
        scored = self._newly_scored(job, subset)
        if config.force or not self._is_done(config, architecture):
            self._count(job, work, scored)
        else:
            self.n_done += 1

    def _sized(self, config: RunConfig, architecture: Architecture) -> Planned:
        """Returns a job with the sizes that its corpus and its scorers tell; raises a DepruneError if it cannot be."""
        facts, model, memory = architecture.facts, config.model, self._memory
        sizes = {key: scorer.size(model, facts.context, memory) for key, scorer in config.eval.scorers.items()}
        fixed = remembered(model, facts, config.eval.builds_models(), config.results_dir / MODELS)
        run = resolve(config, facts).leaving(fixed, model.label)

        def draw() -> Sequence[ItemTokens]:
            tokenizer = memory.once(load_tokenizer, model)
            return memory.once(draw_items, config.calib, run.seq_len, tokenizer, model.label, memory).identifying

        sample = SampleSize(run.seq_len, run.seq_len - 1)
        if config.objective.needs_items:
            sample = config.calib.corpus.item_size(run.seq_len, draw)
        return Planned(config, run, architecture, sample, sizes, self.rates.memory)

    def _is_done(self, config: RunConfig, architecture: Architecture) -> bool:
        """Whether there is a record, of whichever type `auto` stands for on the machine that ran the job."""
        dtypes = ("bfloat16", "float32") if config.dtype == "auto" else (config.dtype,)
        runs = [resolve(replace(config, device="cpu", dtype=d), architecture.facts) for d in dtypes]
        return any(ResultStore(config.results_dir).path(run.run_id).is_file() for run in runs)

    def _rehearse(self, job: Planned) -> tuple[Work, BlockSubset]:
        """Does what a job does with its search and its evaluators; returns their work, and what was found."""
        search, space, objective = job.config.search, job.run.space, job.config.objective
        evaluator = self._evaluator(job, objective)
        problem, dense = Problem(space, evaluator), BlockSubset(space.n_blocks)
        rng = generator(job.config.seed, "search", name_of(search))
        evaluator.losses([dense])
        found = search.rehearse(problem, rng).subset if space.budget else dense
        problem.losses([found])
        evaluator.losses([found])
        if not objective.needs_items:
            return evaluator.work, found
        accuracies = self._evaluator(job, TaskError())
        accuracies.losses([found, dense])
        return evaluator.work + accuracies.work, found

    def _evaluator(self, job: Planned, objective: Objective) -> CountingEvaluator:
        identity, config = job.run.identity, job.config
        model = digest_of([identity["model"], objective.identity()])
        draw = digest_of({k: v for k, v in identity["calib"].items() if k != "n_samples"})
        stack = CountingStack(job.run.space.n_blocks, config.calib.n_samples, model, draw)
        # How many candidates racing would drop cannot be foreseen.
        how = replace(config.evaluator, batch_size=job.batch_size, racing=False)
        return CountingEvaluator(stack, objective, how, self._stores[model])

    def _newly_scored(self, job: Planned, subset: BlockSubset) -> list[BlockSubset]:
        """Returns which of the dense and the pruned model nobody has scored yet."""
        if not any(scorer.is_kept and scorer.subjects() for scorer in job.config.eval.scorers.values()):
            return []
        of = job.run.identity
        models = ((BlockSubset(subset.n_blocks), None), (subset, of.get("treat")))
        return [s for s, treatment in models if self._is_new(of["model"], of["eval"], treatment, s.bits())]

    def _is_new(self, *parts: object) -> bool:
        """Whether something is seen for the first time."""
        name = digest_of(parts)
        is_new = name not in self._seen
        self._seen.add(name)
        return is_new

    def _count(self, job: Planned, work: Work, scored: list[BlockSubset]) -> None:
        config, rates = job.config, self.rates
        if config.model.label != self._loaded:
            self._loaded = config.model.label
            self.seconds["loading models"] += rates.loading(job)
        if self._is_new(config.model.label, job.run.identity["calib"]):
            self.seconds["drawing calibration sets"] += rates.drawing(job)
        block, head = rates.passes(job) if work.block_passes else (0.0, 0.0)
        work.jobs, work.seconds = 1, work.block_passes * block + work.head_passes * head + rates.choosing(job)
        self.work[name_of(config.search)] += work
        self.seconds["searching"] += work.seconds
        self.seconds["scoring pruned models"] += sum(rates.scoring(job, s) for s in scored)
        self.seconds["everything else"] += JOB_SECONDS
        self.n_scored += len(scored)
        self.memory = max(self.memory, (job.memory, config.model.label))
        unknown = [subject for size in job.sizes.values() for subject in size.unknown]
        self.notes |= dict.fromkeys(f"The size of {subject} is not known here; it is left out." for subject in unknown)
        if config.evaluator.racing:
            self.notes["Racing will drop candidates that are counted here, so searches take less."] = None
