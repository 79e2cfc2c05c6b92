"""The hidden states of the dense model, for statistics that searches ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from deprune.data.samples import SampleBatch
from deprune.model.blocks import Stack


@dataclass(frozen=True)
class DenseStates:
    """The `HiddenStates` of one batch.

    Attributes:
        stack: The model.
        batch: The samples.
        count_block: Called before each block.
    """

    stack: Stack
    batch: SampleBatch
    count_block: Callable[[], None]

    def real_tokens(self) -> Tensor:
        """Returns which tokens are no filling, bool `(R, T)`."""
        return self.batch.real_tokens()

    def last_tokens(self) -> Tensor:
        """Returns the index of the last token of each sample's text among all tokens, int64 `(B,)`."""
        return self.batch.last_tokens()

    def __iter__(self) -> Iterator[Tensor]:
        """Yields h_0 … h_N, `(R, T, D)`."""
        inputs = self.stack.embed(self.batch.ids_RT, **self.batch.model_inputs(self.stack.model.dtype))
        hidden_RTD = inputs.hidden_BTD
        yield hidden_RTD
        for block in range(self.stack.n_blocks):
            self.count_block()
            hidden_RTD = self.stack.run_block(block, hidden_RTD, inputs)
            yield hidden_RTD
