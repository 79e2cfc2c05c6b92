"""Seconds and bytes of the pieces of a job: computed for a named device, or measured on this machine."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from deprune.calib.base import CalibrationSet
from deprune.calib.draw import DrawnItems, draw_items, draw_windows
from deprune.config import RunConfig
from deprune.downstream import DownstreamEvaluator, EvalConfig
from deprune.errors import ConfigError
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.memory import MOST_SAMPLES, SHARE, sample_bytes
from deprune.evaluator.store import EvaluationStore
from deprune.identity import ResolvedRun
from deprune.model.load import LoadedModel, load_model
from deprune.objective.base import MAX_LOGITS
from deprune.objective.layout import calibration_set
from deprune.planning.architecture import Architecture
from deprune.planning.rehearsal import InventedLosses, Remembered, rehearse
from deprune.planning.sizes import EvalSize, SampleSize
from deprune.subset import BlockSubset

UTILISATION = 0.5
"""Share of a device's rate that large matrix products and attention reach together; assumed."""

BLOCK_SECONDS, HEAD_SECONDS = 1.5e-4, 3e-4
"""Least time of a block and of the head, however small: that of Python; measured on one core of a server."""

READING = 1e9
"""Rate at which weights are read from a shared file system [byte/s]; assumed."""

REQUEST_SECONDS = 0.7e-3
"""Time of lm-eval and the tokenizer for one request, beside the model; measured on one core of a server."""

JOB_SECONDS = 0.4
"""Time to compose, check and record a job, without tracking; measured likewise."""

START_SECONDS = 6.0
"""Time to start a process and import the libraries; measured likewise."""

FINE, HALF = 4, 2
"""Bytes of a float32, and of a bfloat16 or float16."""


@dataclass(frozen=True)
class Planned:
    """One job with all that its cost depends on."""

    config: RunConfig
    run: ResolvedRun
    architecture: Architecture
    sample: SampleSize
    evaluation: EvalSize

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return FINE if self.run.dtype == "float32" else HALF

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return self.architecture.parameters * self.itemsize

    def batch_size(self, memory: float) -> int:
        """Returns the number of samples that go through a block at once, as the evaluator chooses it."""
        if self.config.evaluator.batch_size is not None:
            return self.config.evaluator.batch_size
        fitting = max(1, int(SHARE * (memory - self.weights) / self._sample_bytes()))
        return min(MOST_SAMPLES, 1 << (fitting.bit_length() - 1))

    def memory(self, batch_size: int) -> float:
        """Returns the bytes that the device needs: weights, and the larger of searching and scoring."""
        searching = batch_size * self._sample_bytes() + MAX_LOGITS * FINE * 2
        logits = self.config.eval.batch_size * self.evaluation.n_longest * self.architecture.vocabulary
        return self.weights + max(searching, logits * (self.itemsize + FINE))

    def _sample_bytes(self) -> int:
        return sample_bytes(self.run.space.n_blocks, self.architecture.width, self.itemsize, self.sample.n_tokens)


class Rates(Protocol):
    """Seconds of the pieces of a job."""

    @property
    def memory(self) -> float:
        """Memory of the device [byte]."""
        ...

    @property
    def price(self) -> float:
        """Price of an hour [USD]; 0 where it is not known."""
        ...

    @property
    def title(self) -> str:
        """The device, in words."""
        ...

    def loading(self, job: Planned) -> float:
        """Returns the seconds of loading the model."""
        ...

    def drawing(self, job: Planned) -> float:
        """Returns the seconds of a calibration draw."""
        ...

    def passes(self, job: Planned, batch_size: int) -> tuple[float, float]:
        """Returns the seconds of one block, and of the head, on one batch of calibration samples."""
        ...

    def choosing(self, job: Planned) -> float:
        """Returns the seconds of the search itself, without any evaluation."""
        ...

    def scoring(self, job: Planned, subset: BlockSubset) -> float:
        """Returns the seconds of the downstream evaluation of one pruned model."""
        ...


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A device by its datasheet; the `Rates` of a forecast.

    Attributes:
        name: The device.
        half_flops: Rate of products of bfloat16 or float16 matrices, without sparsity [FLOP/s].
        float_flops: Rate of products of float32 matrices [FLOP/s].
        bandwidth: Rate of its memory [byte/s].
        memory: Its memory [byte].
        price: Of an hour [USD].
    """

    name: str
    half_flops: float
    float_flops: float
    bandwidth: float
    memory: float
    price: float

    def __post_init__(self) -> None:
        for key in ("half_flops", "float_flops", "bandwidth", "memory"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"The value of 'hardware.{key}' is {getattr(self, key)}, but must be above 0.")

    @property
    def title(self) -> str:
        """The device, in words."""
        return f"one {self.name}"

    def loading(self, job: Planned) -> float:
        """Returns the time to read the weights."""
        return job.weights / READING

    def drawing(self, job: Planned) -> float:
        """Returns nothing: tokenizing some hundred thousand tokens takes part of a second."""
        return 0.0

    def passes(self, job: Planned, batch_size: int) -> tuple[float, float]:
        """Returns the larger of the times for operations and for reading the weights."""
        of, n_tokens = job.architecture, job.sample.n_tokens
        block = max(
            batch_size * of.block_flops(n_tokens) / self._rate(job),
            of.block_parameters * of.active_share * job.itemsize / self.bandwidth,
            BLOCK_SECONDS,
        )
        head = max(
            of.head_flops(batch_size * job.sample.n_scored) / self._rate(job),
            of.vocabulary * of.width * job.itemsize / self.bandwidth,
            HEAD_SECONDS,
        )
        return block, head

    def choosing(self, job: Planned) -> float:
        """Returns nothing: beside a model that is worth a plan, choosing takes no time."""
        return 0.0

    def scoring(self, job: Planned, subset: BlockSubset) -> float:
        """Returns the time of the operations, and of lm-eval itself."""
        of, size, kept = job.architecture, job.evaluation, len(subset.kept)
        length = max(1, size.n_tokens // max(1, size.n_requests))
        flops = size.n_requests * (kept * of.block_flops(length) + of.head_flops(length))
        window = min(2048, of.facts.context or 2048)
        flops += size.n_windows * (kept * of.block_flops(window) + of.head_flops(window))
        return flops / self._rate(job) + size.n_requests * REQUEST_SECONDS

    def _rate(self, job: Planned) -> float:
        return UTILISATION * (self.float_flops if job.run.dtype == "float32" else self.half_flops)


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
        """Returns the time of scoring, from that on few and on some more items and windows."""
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
