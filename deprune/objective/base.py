"""The protocol of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from deprune.data.samples import SampleBatch
    from deprune.model.blocks import Stack

    __all__ = ["SampleBatch", "Stack", "Tensor"]  # objectives take these from here, too

MAX_LOGITS = 2**25
"""Most logits in memory at once, as float32: 128 MiB."""

MAX_TOKENS = 1024
"""Most tokens whose logits are in memory at once: more are no faster, and those of small vocabularies stay in cache."""


@dataclass(frozen=True)
class Score:
    """Losses of a batch of samples; the loss of a set is the sum of sums over that of counts.

    Attributes:
        sums_B: float64 `(B,)`.
        counts_B: float64 `(B,)`, the number of terms in each sum.
    """

    sums_B: Tensor
    counts_B: Tensor


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """Maps the last hidden state of a pruned model to losses; smaller is better.

    Attributes:
        unit: Unit of the loss.
        version: Raised when the formula changes, so that old values are not taken for new.
        needs_items: Whether the calibration set must consist of multiple-choice items.
        needs_dense: Whether the dense model is what the pruned one is compared with.
    """

    unit: ClassVar[str]
    version: ClassVar[int] = 1
    needs_items: ClassVar[bool] = False
    needs_dense: ClassVar[bool] = False

    @abstractmethod
    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns the losses of samples.

        Args:
            stack: The model, for its head.
            hidden_RTD: The hidden state after the last kept block.
            batch: The samples.
            dense_RTD: For an objective that needs it, the dense model's hidden state after its last block.
        """

    def identity(self) -> dict[str, Any]:
        """Returns what the loss is a function of, besides model and samples."""
        return {"name": type(self).__module__.rpartition(".")[2], "version": self.version, **asdict(self)}


def spans(stack: Stack, n_rows: int, n_tokens: int) -> Iterator[slice]:
    """Yields ranges of tokens that are so short that their logits fit into memory."""
    vocabulary = stack.model.get_input_embeddings().num_embeddings
    step = max(1, min(MAX_LOGITS // vocabulary, MAX_TOKENS) // n_rows)
    for start in range(0, n_tokens, step):
        yield slice(start, min(start + step, n_tokens))
