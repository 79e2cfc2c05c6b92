"""Seconds and bytes of the pieces of a job, computed from a device's datasheet."""

from dataclasses import dataclass, replace

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset
from deprune.data.corpus import SampleSize
from deprune.downstream.base import Size
from deprune.evaluator.device_memory import sample_bytes, samples_in
from deprune.objective.base import MAX_LOGITS
from deprune.planning.architecture import Architecture
from deprune.run.config import RunConfig
from deprune.run.identity import ResolvedRun

UTILISATION = 0.5
"""Share of a device's rate that large matrix products and attention reach together; assumed."""

BLOCK_SECONDS, HEAD_SECONDS = 1.5e-4, 3e-4
"""Least time of a block and of the head, however small: that of Python; rounded from runs on one core of a server."""

READING = 1e9
"""Rate at which weights are read from a shared file system [byte/s]; assumed."""

JOB_SECONDS, START_SECONDS = 0.4, 6.0
"""Time to compose, check and record a job, without tracking, and to start a process; rounded from the same runs."""

FINE, HALF = 4, 2
"""Bytes of a float32, and of a bfloat16 or float16."""


@dataclass(frozen=True)
class Planned:
    """One job with all that its cost depends on.

    Attributes:
        sizes: What its scorers read, by their keys.
        device_memory: Memory of the device [byte].
    """

    config: RunConfig
    run: ResolvedRun
    architecture: Architecture
    sample: SampleSize
    sizes: dict[str, Size]
    device_memory: float

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return FINE if self.run.dtype == "float32" else HALF

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return self.architecture.parameters * self.itemsize

    @property
    def batch_size(self) -> int:
        """Number of samples that go through a block at once, as the evaluator chooses it."""
        given, free = self.config.evaluator.batch_size, self.device_memory - self.weights
        return given or samples_in(free, self._sample_bytes)

    @property
    def memory(self) -> float:
        """Bytes that the device needs: weights, and the larger of searching and scoring."""
        searching = self.batch_size * self._sample_bytes + MAX_LOGITS * FINE * 2
        logits = max((size.n_at_once for size in self.sizes.values()), default=0) * self.architecture.vocabulary
        return self.weights + max(searching, logits * (self.itemsize + FINE))

    @property
    def _sample_bytes(self) -> int:
        return sample_bytes(self.run.space.n_blocks, self.architecture.width, self.itemsize, self.sample.n_tokens)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The rates of a device by its datasheet: seconds of the pieces of a job.

    Attributes:
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

    def adapted(self, config: RunConfig) -> RunConfig:
        """Returns a job as it would be on the device, a GPU, without asking whether one is here."""
        return replace(config, device="cpu", dtype="bfloat16" if config.dtype == "auto" else config.dtype)

    def loading(self, job: Planned) -> float:
        """Returns the seconds of loading the model: the time to read the weights."""
        return job.weights / READING

    def drawing(self, job: Planned) -> float:
        """Returns those of a calibration draw; tokenizing some hundred thousand tokens takes part of one."""
        return 0.0

    def passes(self, job: Planned) -> tuple[float, float]:
        """Returns those of one block, and of the head, on one batch: of operations, or of reading the weights."""
        of, rate, number_rate = job.architecture, self._rate(job), self.bandwidth / job.itemsize
        block_flops = job.batch_size * of.block_flops(job.sample.n_tokens)
        block = max(block_flops / rate, of.block_parameters * of.active_share / number_rate, BLOCK_SECONDS)
        head_flops = of.head_flops(job.batch_size * job.sample.n_scored)
        head = max(head_flops / rate, of.vocabulary * of.width / number_rate, HEAD_SECONDS)
        return block, head

    def choosing(self, job: Planned) -> float:
        """Returns those of the search itself; beside a model that is worth a plan, it takes none."""
        return 0.0

    def scoring(self, job: Planned, subset: BlockSubset) -> float:
        """Returns those of scoring one pruned model: of the operations, and of what scorers do beside the model."""
        of, kept, flops = job.architecture, len(subset.kept), 0.0
        for size in job.sizes.values():
            length = max(1, size.n_tokens // max(1, size.n_sequences))
            flops += size.n_sequences * (kept * of.block_flops(length) + of.head_flops(length))
        return flops / self._rate(job) + sum(size.seconds for size in job.sizes.values())

    def _rate(self, job: Planned) -> float:
        return UTILISATION * (self.float_flops if job.run.dtype == "float32" else self.half_flops)
