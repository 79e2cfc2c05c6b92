"""Seconds of the pieces of a job, measured on this machine with the models themselves."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deprune.core.subset import BlockSubset
from deprune.data.draw import DrawnItems, draw_items, draw_windows
from deprune.data.samples import CalibrationSet
from deprune.downstream.scores import DownstreamEvaluator, EvalConfig
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel, load_model
from deprune.objective.shared_context import calibration_set
from deprune.planning.hardware import Planned
from deprune.planning.rehearsal import InventedLosses, Remembered, rehearse
from deprune.record.evaluations import EvaluationStore


class ThisMachine:
    """The `Rates` of this machine, measured with the models themselves as far as they are asked for."""

    def __init__(self, memory: float) -> None:
        self.memory = memory
        self.price = 0.0
        self.title = "this machine"
        self._loading: dict[str, float] = {}
        self._drawing: dict[tuple[str, str], float] = {}
        self._passes: dict[tuple[object, ...], tuple[float, float]] = {}
        self._choosing: dict[tuple[object, ...], float] = {}
        self._scoring: dict[tuple[str, EvalConfig], float] = {}

    def loading(self, job: Planned) -> float:
        """Returns the time that loading took."""
        label = job.config.model.label
        if label not in self._loading:
            self._loading[label] = _seconds(lambda: self._loaded(job))
        return self._loading[label]

    def drawing(self, job: Planned) -> float:
        """Returns the time that drawing samples took, with the corpus at hand."""
        key = (job.config.model.label, job.config.calib.name)
        if key not in self._drawing:
            self._samples(job, 0)
            self._drawing[key] = _seconds(lambda: self._samples(job, 1))
        return self._drawing[key]

    def passes(self, job: Planned, batch_size: int) -> tuple[float, float]:
        """Returns medians of three measurements with the real evaluator."""
        key = (job.config.model.label, job.config.objective, job.sample, batch_size)
        if key not in self._passes:
            self._passes[key] = self._measure_passes(job, batch_size)
        return self._passes[key]

    def choosing(self, job: Planned) -> float:
        """Returns the time of a search on invented losses."""
        key = (job.config.search, job.run.space)
        if key not in self._choosing and job.run.space.budget:
            source = InventedLosses(job.run.space.n_blocks, 2, 1, False, ("", ""), Remembered())
            self._choosing[key] = _seconds(
                lambda: rehearse(job.config.search, job.run.space, 0, source, needs_dense=False, in_earnest=True)
            )
        return self._choosing.get(key, 0.0)

    def scoring(self, job: Planned, subset: BlockSubset) -> float:
        """Returns the time of scoring the first subset asked for, from that on few and on some more items."""
        key = (job.config.model.label, job.config.eval)
        if key not in self._scoring:
            of = job.config.eval
            self._scoring[key] = sum(
                self._extrapolated(job, subset, part, size)
                for part, size in (
                    (replace(of, corpora=()), job.evaluation.n_items / max(1, len(of.tasks))),
                    (replace(of, tasks=()), job.evaluation.n_windows / max(1, len(of.corpora))),
                )
                if part.tasks or part.corpora
            )
        return self._scoring[key]

    def _extrapolated(self, job: Planned, subset: BlockSubset, of: EvalConfig, size: float) -> float:
        few, more = (min(size, n) for n in ((8, 40) if of.tasks else (1, 4)))
        loaded = self._loaded(job)

        def score(n: float) -> None:
            part = replace(of, limit=int(n)) if of.tasks else replace(of, windows=int(n))
            with tempfile.TemporaryDirectory() as folder:
                evaluator = DownstreamEvaluator(Path(folder), loaded, job.config.model.label, part)
                evaluator.evaluate(subset)

        score(few)  # reads data and warms up
        short, long = _seconds(lambda: score(few)), _seconds(lambda: score(more))
        return long if more == few else short + max(0.0, long - short) * (size - few) / (more - few)

    def _measure_passes(self, job: Planned, batch_size: int) -> tuple[float, float]:
        loaded = self._loaded(job)
        drawn = self._samples(job, 0, batch_size)
        samples = calibration_set(drawn, loaded.stack) if isinstance(drawn, DrawnItems) else drawn
        n_blocks = loaded.stack.n_blocks

        def evaluate(subset: BlockSubset) -> float:
            config = EvaluatorConfig(batch_size=batch_size)
            evaluator = SubsetEvaluator(loaded.stacks[:1], samples, job.config.objective, config, EvaluationStore(None))
            return _seconds(lambda: evaluator.evaluate([subset]))

        shallow, deep = BlockSubset(n_blocks, tuple(range(1, n_blocks))), BlockSubset(n_blocks)
        evaluate(deep)
        one, every = (statistics.median(evaluate(s) for _ in range(3)) for s in (shallow, deep))
        block = max(0.0, every - one) / (n_blocks - 1)
        return block, max(0.0, one - block)

    def _samples(self, job: Planned, seed: int, n_samples: int | None = None) -> CalibrationSet | DrawnItems:
        calib = job.config.calib
        calib = replace(calib, seed=calib.seed + seed, n_samples=n_samples or calib.n_samples)
        draw = draw_items if job.config.objective.needs_items else draw_windows
        return draw(calib, job.run.seq_len, self._loaded(job).tokenizer, job.config.model.label)

    def _loaded(self, job: Planned) -> LoadedModel:
        return load_model(job.config.model, job.run.device, job.run.dtype)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
