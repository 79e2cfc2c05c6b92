"""The share of items whose right answer is not the likeliest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.objective.base import Objective, Score
from deprune.objective.task_margin import mean_log_likelihoods

if TYPE_CHECKING:
    from deprune.objective.base import SampleBatch, Stack, Tensor


@dataclass(frozen=True, kw_only=True)
class TaskError(Objective):
    """One minus the accuracy on the calibration items; a choice is as likely as its tokens are in the mean.

    Source: own; the zero-one loss of which `task_margin` is a smooth stand-in. Every run on
    items reports it.
    """

    unit, needs_items = "share of items", True

    def score(self, stack: Stack, hidden_RTD: Tensor, batch: SampleBatch, dense_RTD: Tensor | None = None) -> Score:
        """Returns 1 for each item that is answered wrongly, else 0."""
        import torch

        assert batch.answers is not None
        chosen_B = mean_log_likelihoods(stack, hidden_RTD, batch).argmax(dim=1)
        wrong_B = (chosen_B != batch.answers.answers_B.cpu()).double()
        return Score(wrong_B, torch.ones_like(wrong_B))
