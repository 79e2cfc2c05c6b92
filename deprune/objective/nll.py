"""Mean negative log-likelihood of the next token; its exponential is the perplexity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deprune.model.blocks import BlockStack
from deprune.objective.base import Objective, Score

MAX_LOGITS = 2**25
"""Most logits in memory at once, as float32: 128 MiB."""


@dataclass(frozen=True, kw_only=True)
class NegativeLogLikelihood(Objective):
    """Token negative log-likelihood of every token but the first.

    Source: the usual perplexity objective, as in SLEB (arXiv:2402.09025).
    """

    unit: ClassVar[str] = "nat/token"
    version: ClassVar[int] = 1

    def score(self, stack: BlockStack, hidden_BTD: Tensor, ids_BT: Tensor) -> Score:
        """Returns sum and number of token losses of each sample; float64 sums of float32 terms."""
        n_samples, length = ids_BT.shape
        sums_B = torch.zeros(n_samples, dtype=torch.float64)
        vocabulary = stack.model.get_input_embeddings().num_embeddings
        step = max(1, MAX_LOGITS // (n_samples * vocabulary))
        for start in range(0, length - 1, step):
            stop = min(start + step, length - 1)
            logits = stack.logits(hidden_BTD[:, start:stop]).float()
            targets = ids_BT[:, start + 1 : stop + 1]
            losses = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            sums_B += losses.double().sum(dim=1).cpu()
        return Score(sums_B, torch.full((n_samples,), length - 1, dtype=torch.float64))
