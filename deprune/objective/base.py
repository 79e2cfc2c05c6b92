"""The protocol of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from deprune.model.blocks import BlockStack


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
    """

    unit: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def score(self, stack: BlockStack, hidden_BTD: Tensor, ids_BT: Tensor) -> Score:
        """Returns the losses of samples, given the hidden state after their last block."""
