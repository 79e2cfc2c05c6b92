"""The evaluator's work on an invented model, that counts in place of computing.

The loss of a subset is what the blocks that it removes, and pairs of them, cost. So every search asks for what it would
ask for on a model whose blocks interact as these do.

Shapes: N blocks, S samples, R of them in a batch, G subsets, D = N + 1; a sample is one token, its number.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from deprune.core.randomness import generator
from deprune.core.subset import BlockSubset
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import Evaluation, EvaluationCounter, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.trie import count_prefixes
from deprune.model.blocks import BlockInputs
from deprune.objective.base import Objective
from deprune.record.evaluations import EvaluationStore

INTERACTION, DRAWS_DIFFER, SAMPLES_DIFFER = 0.2, 0.3, 1.0
"""As parts of a block's own cost: the interaction of two blocks, and what a calibration set and each sample add."""


@dataclass
class Work(EvaluationCounter):
    """What evaluating takes; passes are of all samples of a batch through one block, or through the head.

    Attributes:
        calls: Times that the evaluator is asked, upon which it looks what others have stored.
        block_calls_alone: What `block_calls` would be if every subset were run on its own.
        block_passes: Times that a block is run on a batch.
        head_passes: Times that the head is.
        seconds: Time of evaluating and choosing.
    """

    calls: int = 0
    block_calls_alone: int = 0
    block_passes: int = 0
    head_passes: int = 0
    jobs: int = 0
    seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*map(operator.add, astuple(self), astuple(other)))


class PlannedSamples(CalibrationSet):
    """Samples that are not drawn yet; they have names in place of content."""

    def sample_keys(self) -> list[str]:
        """Returns the names; those of one draw are nested."""
        return [f"{self.sample_id}/{number}" for number in range(self.n_samples)]


class CountingStack:
    """The `Stack` of an invented model; the costs of its blocks belong to the names of a model and of a draw.

    Of many samples of a draw the first are those of few.
    """

    def __init__(self, n_blocks: int, n_samples: int, model: str, draw: str) -> None:
        common, own = generator(0, "plan", model), generator(0, "plan", model, draw)
        block_N = common.exponential(size=n_blocks) + DRAWS_DIFFER * own.normal(size=n_blocks)
        self.model: Any = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float64)
        self.n_blocks = n_blocks
        self.samples = PlannedSamples(torch.arange(n_samples)[:, None], draw, draw)
        self.pairs_NN = torch.from_numpy(INTERACTION * common.normal(size=(n_blocks, n_blocks)) / 2)
        self.own_SN = torch.from_numpy(block_N + SAMPLES_DIFFER * own.normal(size=(n_samples, n_blocks)))
        self.work = Work()

    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns the costs of all blocks, and a one, `(B, 1, D)`."""
        return BlockInputs(torch.cat([self.own_SN[ids_BT], torch.ones(*ids_BT.shape, 1)], dim=-1), {})

    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the state without the cost of the block."""
        self.work.block_passes += 1
        self.work.block_calls_alone += len(hidden_BTD)
        return hidden_BTD.index_fill(-1, torch.tensor(index), 0)


class CountingEvaluator(SubsetEvaluator):
    """The evaluator of an invented model: its `work` counts the prefixes of subsets, in place of walking them."""

    def __init__(
        self, stack: CountingStack, objective: Objective, config: EvaluatorConfig, store: EvaluationStore
    ) -> None:
        stacks: list[Any] = [stack]  # without a head, which nobody asks
        super().__init__(stacks, stack.samples, objective, config, store)
        self.counter = self.work = stack.work

    def evaluate(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[Evaluation]:
        """Counts the call."""
        self.work.calls += 1
        return super().evaluate(subsets, n_samples)

    def _run(self, stack: Any, first: int, subsets: list[BlockSubset], missing: Any, bar: Any) -> None:
        """Stores the costs of subsets on a batch as their losses, and counts what computing them would take."""
        last = min(first + self._batch_size, self.n_samples)
        removed_GN = torch.tensor([[*map(float, subset.bits())] for subset in subsets], dtype=torch.float64)
        pairs_G1 = ((removed_GN @ stack.pairs_NN) * removed_GN).sum(dim=1, keepdim=True)
        losses_GR = (removed_GN @ stack.own_SN[first:last].T + pairs_G1).tolist()
        if self._objective.needs_dense and first not in self._dense_states:
            self._dense_states[first] = torch.empty(0)
            self._count([BlockSubset(stack.n_blocks)], last - first)
        self._count(subsets, last - first)
        self.work.head_passes += len(subsets)
        for subset, losses in zip(subsets, losses_GR, strict=True):
            rows = [row for row in missing[subset] if first <= row < last]
            self.work.sample_evaluations += len(rows)
            keys, values = [self._keys[row] for row in rows], [losses[row - first] for row in rows]
            self._store.put(subset.bits(), keys, values, [1.0] * len(rows))

    def _count(self, subsets: list[BlockSubset], n_samples: int) -> None:
        n_passes = count_prefixes(subsets)
        self.work.block_passes += n_passes
        self.work.block_calls += n_passes * n_samples
        self.work.block_calls_alone += sum(len(subset.kept) for subset in subsets) * n_samples
