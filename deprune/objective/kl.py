"""Divergence of the pruned model's next-token distribution from the dense model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.objective.base import Objective, Score, spans

if TYPE_CHECKING:
    from deprune.objective.base import SampleBatch, Stack, Tensor


@dataclass(frozen=True, kw_only=True)
class KullbackLeibler(Objective):
    """Mean over tokens of KL(dense ‖ pruned) of the next-token distributions.

    The dense model is remembered as its last hidden state, from which its distribution follows
    span by span: width numbers a token in place of the size of the vocabulary.

    Source: the usual distillation loss (Hinton et al., arXiv:1503.02531, at temperature 1).
    """

    unit, needs_dense = "nat/token", True

    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns sum and number of divergences of each window, every token counting."""
        import torch
        from torch.nn import functional

        assert dense_RTD is not None
        n_rows, length = batch.ids_RT.shape
        sums_R = torch.zeros(n_rows, dtype=torch.float64)
        for span in spans(stack, 2 * n_rows, length):
            pruned_RTV, dense_RTV = (
                functional.log_softmax(stack.logits(hidden[:, span]).float(), dim=-1)
                for hidden in (hidden_RTD, dense_RTD)
            )
            divergences_RT = (dense_RTV.exp() * (dense_RTV - pruned_RTV)).sum(dim=-1)
            sums_R += divergences_RT.double().sum(dim=1).cpu()
        return Score(sums_R, torch.full((n_rows,), length, dtype=torch.float64))
