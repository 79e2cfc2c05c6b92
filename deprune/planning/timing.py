"""Seconds of the pieces of a job, measured on this machine with the models themselves."""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from deprune.core.build import name_of
from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.draw import DrawnItems
from deprune.data.samples import CalibrationSet
from deprune.downstream.scoring import score_models
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.device_memory import free_memory
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel
from deprune.model.pruned import PrunedModel
from deprune.model.source import resolve_device
from deprune.objective.shared_context import calibration_set
from deprune.planning.counting import CountingEvaluator, CountingStack
from deprune.planning.hardware import Planned
from deprune.record.evaluations import EvaluationStore
from deprune.run.config import RunConfig
from deprune.run.preparation import Preparation
from deprune.run.session import Session
from deprune.search.base import Problem


class ThisMachine:
    """What `Hardware` says, measured here with the models themselves as far as it is asked for; without a price."""

    title, price = "this machine", 0.0

    def __init__(self) -> None:
        self.memory = free_memory(torch.device(resolve_device("auto")))
        self._session = Session()
        self._seconds: dict[tuple[object, ...], float] = {}

    def adapted(self, config: RunConfig) -> RunConfig:
        """Returns a job as it is."""
        return config

    def loading(self, job: Planned) -> float:
        """Returns the time that loading took."""
        return self._once(lambda: self._loaded(job), "loading", job.config.model.label)

    def drawing(self, job: Planned) -> float:
        """Returns the time that drawing samples takes, with the corpus at hand."""
        key = job.config.model.label, job.config.calib.name
        self._once(lambda: self._draw(job, 0), "reading", *key)
        return self._once(lambda: self._draw(job, 1), "drawing", *key)

    def passes(self, job: Planned) -> tuple[float, float]:
        """Returns medians of three measurements with the real evaluator."""
        key = job.config.model.label, job.config.objective, job.sample, job.batch_size
        n = job.run.space.n_blocks
        shallow, deep = BlockSubset(n, tuple(range(1, n))), BlockSubset(n)
        if (*key, deep, 2) not in self._seconds:
            loaded, how = self._loaded(job), EvaluatorConfig(batch_size=job.batch_size)
            drawn = self._draw(job, 0, job.batch_size)
            samples = calibration_set(drawn, loaded.stack) if isinstance(drawn, DrawnItems) else drawn
            for subset, number in ((deep, "warms up"), *itertools.product((shallow, deep), range(3))):
                store, objective = EvaluationStore(None), job.config.objective
                evaluator = SubsetEvaluator(loaded.stacks[:1], samples, objective, how, store)
                self._once(functools.partial(evaluator.evaluate, [subset]), *key, subset, number)
        one, every = (statistics.median(self._seconds[*key, s, i] for i in range(3)) for s in (shallow, deep))
        block = max(0.0, every - one) / (n - 1)
        return block, max(0.0, one - block)

    def choosing(self, job: Planned) -> float:
        """Returns the time of a search on invented losses."""
        search, space = job.config.search, job.run.space
        if not space.budget:
            return 0.0
        stack, how = CountingStack(space.n_blocks, 2, "", ""), EvaluatorConfig(batch_size=2)
        evaluator = CountingEvaluator(stack, job.config.objective, how, EvaluationStore(None))
        rng = generator(0, "search", name_of(search))
        return self._once(lambda: search.run(Problem(space, evaluator), rng), "choosing", search, space)

    def scoring(self, job: Planned, subset: BlockSubset) -> float:
        """Returns the time of scoring the first subset asked for, from that on few and on some more items."""
        return sum(self._scoring(job, subset, key) for key in job.config.eval.scorers)

    def _scoring(self, job: Planned, subset: BlockSubset, key: str) -> float:
        scorer = job.config.eval.scorers[key]
        n_items = job.sizes[key].n_items / max(1, len(scorer.subjects()))
        few, more = (min(n_items, n) for n in (8, 40))

        def score(number: float) -> None:
            pruned, part = PrunedModel(self._loaded(job), subset), scorer.shortened(max(1, int(number)))
            with tempfile.TemporaryDirectory() as folder:
                score_models([pruned], {key: part}, Path(folder), self._session.memory)

        named = "scoring", job.config.model.label, scorer
        self._once(lambda: score(few), *named, "reads data and warms up")
        short, long = self._once(lambda: score(few), *named, "few"), self._once(lambda: score(more), *named, "more")
        return long if more == few else short + max(0.0, long - short) * (n_items - few) / (more - few)

    def _draw(self, job: Planned, seed: int, n_samples: int | None = None) -> CalibrationSet | DrawnItems:
        calib = job.config.calib
        calib = replace(calib, seed=calib.seed + seed, n_samples=n_samples or calib.n_samples)
        return Preparation(replace(job.config, calib=calib), job.run, self._session).draw()

    def _loaded(self, job: Planned) -> LoadedModel:
        return self._session.model(job.config.model, job.run.device, job.run.dtype)

    def _once(self, work: Callable[[], object], *key: object) -> float:
        """Returns the seconds of some work, which is done when it is asked for the first time."""
        if key not in self._seconds:
            started = time.perf_counter()
            work()
            self._seconds[key] = time.perf_counter() - started
        return self._seconds[key]
