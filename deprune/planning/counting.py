"""The evaluator's work on a model that counts in place of computing.

A hidden state holds what each block that was not run costs on the sample, and last what pairs of them do; the head adds
all up. So every search asks for what it would ask for on a model whose blocks interact as these do.

Shapes: N blocks, S samples, R of them in a batch; a sample is one token, its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.samples import CalibrationSet, SampleBatch
from deprune.evaluator.base import Evaluation, EvaluationCounter, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.trie import count_prefixes
from deprune.model.blocks import BlockInputs, Stack
from deprune.objective.base import Objective, Score
from deprune.record.evaluations import EvaluationStore

INTERACTION = 0.2
"""Size of the interaction of two blocks, as a part of that of one block's own cost."""

DRAWS_DIFFER, SAMPLES_DIFFER = 0.3, 1.0
"""Size of what a calibration set, and each of its samples, add to a block's own cost, likewise."""


@dataclass
class Work(EvaluationCounter):
    """What evaluating takes; passes are of all samples of a batch through one block, or through the head.

    Attributes:
        calls: Times that the evaluator is asked, upon which it looks what others have stored.
        block_calls_alone: What `block_calls` would be if every subset were run on its own.
        block_passes: Times that a block is run on a batch.
        head_passes: Times that the head is.
    """

    calls: int = 0
    block_calls_alone: int = 0
    block_passes: int = 0
    head_passes: int = 0

    def add(self, other: Work) -> None:
        """Adds the work of another job."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Costs(NamedTuple):
    """What the blocks of an invented model cost on an invented calibration set."""

    own_SN: Tensor
    pairs_NN: Tensor

    @classmethod
    def of(cls, n_blocks: int, n_samples: int, model: str, draw: str) -> Costs:
        """Returns the costs that belong to names; the first of many samples are those of few.

        Args:
            n_blocks: N.
            n_samples: S.
            model: Name of model and objective.
            draw: Name of the calibration set, however many samples it has.
        """
        common, own = generator(0, "plan", model), generator(0, "plan", model, draw)
        block_N = common.exponential(size=n_blocks) + DRAWS_DIFFER * own.normal(size=n_blocks)
        pairs_NN = INTERACTION * common.normal(size=(n_blocks, n_blocks)) / 2
        samples_SN = SAMPLES_DIFFER * own.normal(size=(n_samples, n_blocks))
        return cls(torch.from_numpy(block_N + samples_SN), torch.from_numpy(pairs_NN))


class CountingStack:
    """The `Stack` of an invented model.

    Attributes:
        work: What was run on it, as far as the evaluator does not count it itself.
    """

    def __init__(self, costs: Costs) -> None:
        self.model: Any = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float64)
        self.work = Work()
        self._own_SN = costs.own_SN

    @property
    def n_blocks(self) -> int:
        """N."""
        return self._own_SN.shape[1]

    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns the costs of all blocks, and a one in the place of those of pairs."""
        own_RN = self._own_SN[ids_BT[:, 0]]
        return BlockInputs(torch.cat([own_RN, torch.ones(len(own_RN), 1)], dim=1)[:, None], ())

    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the state without the cost of the block."""
        self.work.block_passes += 1
        self.work.block_calls_alone += len(hidden_BTD)
        hidden_BTD = hidden_BTD.clone()
        hidden_BTD[:, :, index] = 0
        return hidden_BTD

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the losses of the samples, `(R, 1, 1)`."""
        self.work.head_passes += 1
        return hidden_BTD.sum(dim=-1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class InventedLoss(Objective):
    """Takes the head's word for the loss."""

    unit: ClassVar[str] = "invented"
    version: ClassVar[int] = 1

    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns the losses of samples."""
        losses_R = stack.logits(hidden_RTD)[:, 0, 0]
        return Score(losses_R, torch.ones_like(losses_R))


class InventedDivergence(InventedLoss):
    """The same for an objective that needs the dense model's state."""

    needs_dense: ClassVar[bool] = True


class PlannedSamples(CalibrationSet):
    """Samples that are not drawn yet; those of one draw are nested."""

    @classmethod
    def of(cls, draw: str, n_samples: int) -> PlannedSamples:
        """Returns the first samples of a draw."""
        return cls(torch.arange(n_samples)[:, None], draw, draw)

    def sample_keys(self) -> list[str]:
        """Returns names of the samples, without their content."""
        return [f"{self.sample_id}/{number}" for number in range(self.n_samples)]


class CountingEvaluator(SubsetEvaluator):
    """The evaluator of an invented model, that counts the prefixes of a group of subsets and walks none.

    Args:
        costs: The costs of blocks.
        draw: Name of the calibration set, however many samples it has.
        config: How.
        store: Where losses are remembered.
        needs_dense: Whether the objective needs the dense model's state.

    Attributes:
        work: What evaluating takes.
    """

    def __init__(
        self, costs: Costs, draw: str, config: EvaluatorConfig, store: EvaluationStore, *, needs_dense: bool = False
    ) -> None:
        stack, objective = CountingStack(costs), InventedDivergence() if needs_dense else InventedLoss()
        super().__init__([stack], PlannedSamples.of(draw, len(costs.own_SN)), objective, config, store)
        self.counter = self.work = stack.work
        self._pairs_NN = costs.pairs_NN
        self._last: tuple[list[BlockSubset], int, int, Tensor] = ([], 0, 0, torch.empty(0))

    def evaluate(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[Evaluation]:
        """Returns invented evaluations."""
        self.work.calls += 1
        return super().evaluate(subsets, n_samples)

    def _walk(
        self,
        stack: Stack,
        first: int,
        batch: SampleBatch,
        subsets: list[BlockSubset],
        bar: tqdm[NoReturn] | None = None,
    ) -> Iterator[tuple[BlockSubset, Tensor]]:
        """Yields subsets with what is left of the costs after their last blocks, and counts what that would take."""
        n_samples = min(self._batch_size, self.n_samples - first)
        if self._last[0] != subsets:  # most groups go through several batches
            left_SN = torch.tensor([[*map(float, subset.bits())] for subset in subsets], dtype=torch.float64)
            pairs_S1 = ((left_SN @ self._pairs_NN) * left_SN).sum(dim=1, keepdim=True)
            left_SD = torch.cat([left_SN, pairs_S1], dim=1)
            self._last = subsets, count_prefixes(subsets), sum(len(s.kept) for s in subsets), left_SD
        _, n_shared, n_alone, left_SD = self._last
        self.work.block_passes += n_shared
        self.work.block_calls += n_shared * n_samples
        self.work.block_calls_alone += n_alone * n_samples
        hidden_RTD = stack.embed(batch.ids_RT).hidden_BTD
        for subset, left_D in zip(subsets, left_SD, strict=True):
            yield subset, hidden_RTD * left_D
