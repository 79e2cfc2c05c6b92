"""By how much the right answer of an item is likelier than the wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.objective.base import Objective, Score, spans

if TYPE_CHECKING:
    from deprune.objective.base import SampleBatch, Stack, Tensor


@dataclass(frozen=True, kw_only=True)
class TaskMargin(Objective):
    """Mean over items of −[ℓ(right) − mean ℓ(wrong)], ℓ the mean log-likelihood of a choice's tokens.

    Source: the discriminative objective of the study (arXiv:2604.24938). It has no lower bound,
    and can fall below the dense model's while accuracy falls too; records hold the accuracy on the
    calibration items beside it.
    """

    unit, needs_items = "nat/token", True

    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns the negative margin of each item, each counting as one term."""
        import torch

        assert batch.answers is not None
        means_BC = mean_log_likelihoods(stack, hidden_RTD, batch)
        right_B = means_BC.gather(1, batch.answers.answers_B.cpu()[:, None])[:, 0]
        n_wrong_B = means_BC.isfinite().sum(dim=1) - 1
        wrong_B = (means_BC.nan_to_num(neginf=0).sum(dim=1) - right_B) / n_wrong_B
        return Score(wrong_B - right_B, torch.ones_like(right_B))


def mean_log_likelihoods(stack: Stack, hidden_RTD: Tensor, batch: SampleBatch) -> Tensor:
    """Returns the mean log-likelihood of the tokens of each choice, float64 `(B, C)`; −∞ where an item has fewer."""
    import torch

    answers = batch.answers
    assert answers is not None
    n_items, n_scored = answers.targets_BP.shape
    hidden_BTD = hidden_RTD.reshape(n_items, -1, hidden_RTD.shape[-1])
    scored_BPD = hidden_BTD.gather(1, answers.sources_BP[..., None].expand(-1, -1, hidden_BTD.shape[-1]))
    parts = []
    for span in spans(stack, n_items, n_scored):
        logits_BPV = stack.logits(scored_BPD[:, span]).float()
        target_BP = logits_BPV.gather(2, answers.targets_BP[:, span, None])[..., 0]
        parts.append(target_BP - logits_BPV.logsumexp(dim=-1))
    likelihoods_BP = torch.cat(parts, dim=1).double().cpu()
    member_BPC = answers.choices_BP.cpu()[..., None] == torch.arange(int(answers.choices_BP.max()) + 1)
    sums_BC = (likelihoods_BP[..., None] * member_BPC).sum(dim=1)
    counts_BC = member_BPC.sum(dim=1)
    return torch.where(counts_BC > 0, sums_BC / counts_BC.clamp(min=1), -torch.inf)
