"""Mean negative log-likelihood of the next token; its exponential is the perplexity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.objective.base import Objective, Score, spans

if TYPE_CHECKING:
    from deprune.objective.base import SampleBatch, Stack, Tensor


@dataclass(frozen=True, kw_only=True)
class NegativeLogLikelihood(Objective):
    """Token negative log-likelihood of every token but the first.

    Source: the usual perplexity objective, as in SLEB (arXiv:2402.09025).
    """

    unit = "nat/token"

    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns sum and number of token losses of each window; float64 sums of float32 terms."""
        import torch

        n_rows, length = batch.ids_RT.shape
        sums_R = torch.zeros(n_rows, dtype=torch.float64)
        for span in spans(stack, n_rows, length - 1):
            logits_RTV = stack.logits(hidden_RTD[:, span]).float()
            targets_RT1 = batch.ids_RT[:, span.start + 1 : span.stop + 1, None]
            losses_RT = logits_RTV.logsumexp(dim=-1) - logits_RTV.gather(2, targets_RT1)[..., 0]
            sums_R += losses_RT.double().sum(dim=1).cpu()
        return Score(sums_R, torch.full((n_rows,), length - 1, dtype=torch.float64))
