"""What pruning saves: parameters, floating-point operations, and measured tokens per second."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from deprune.core.memory import Memory
from deprune.data.heldout import window_length
from deprune.downstream.base import Score, Scorer, Size

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deprune.model.blocks import BlockStack
    from deprune.model.pruned import PrunedModel
    from deprune.model.source import ModelConfig

SUBJECT = "model"
"""Stands where other scorers name a task."""

ROW = partial(Score, task=SUBJECT, response=None, stderr=None)

N_PREFILL, N_DECODED = 512, 16
"""Number of tokens of the prompt on which speed is measured, where the context allows it, and of those generated."""

N_REPEATS = 5
"""Number of interleaved runs, of which the median counts."""


@dataclass(frozen=True, kw_only=True)
class Efficiency(Scorer):
    """Counts parameters and operations, and, if asked for, measures tokens per second.

    Attributes:
        speed: Measure prefill and decoding: medians of runs in which the models take turns.
    """

    is_kept: ClassVar[bool] = False

    speed: bool = False

    def subjects(self) -> Sequence[str]:
        """Returns the model itself."""
        return (SUBJECT,)

    def builds_models(self) -> bool:
        """Returns whether speed is measured; counting needs none."""
        return self.speed

    def identity(self, key: str) -> dict[str, Any]:
        """Returns the setting that identities of runs have held from the first."""
        return {"speed": self.speed}

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns nothing: counting takes no time, and speeds are seconds on a device that is known."""
        return Size()

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        """Returns counts, then speeds."""
        speeds = _speeds(models) if self.speed else [[]] * len(models)
        return [_counts(pruned) + timed for pruned, timed in zip(models, speeds, strict=True)]


def _counts(pruned: PrunedModel) -> list[Score]:
    loaded, kept = pruned.loaded, pruned.subset.kept
    *blocks, outside = loaded.memory.once(costs_by_block, loaded.stack, window_length(loaded.facts.context))
    parameters, flops = (sum(column) for column in zip(outside, *(blocks[block] for block in kept), strict=True))
    counts = (("parameters", parameters, "parameters"), ("flops_per_token", flops, "FLOP/token"))
    return [ROW(metric=name, value=float(n), unit=unit, higher_is_better=False) for name, n, unit in counts]


def costs_by_block(stack: BlockStack, n_tokens: int) -> list[tuple[int, float]]:
    """Returns the parameters and the operations per token of each block, and last what is outside of them.

    Args:
        stack: The model.
        n_tokens: Length of the sequence on which operations are counted, not measured [tokens].
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        inputs = stack.embed(torch.zeros(1, n_tokens, dtype=torch.long, device=stack.model.device))
        hidden_BTD, totals = inputs.hidden_BTD, [counter.get_total_flops()]
        for block in range(stack.n_blocks):
            hidden_BTD = stack.run_block(block, hidden_BTD, inputs)
            totals.append(counter.get_total_flops())
        stack.logits(hidden_BTD)
    flops = [after - before for before, after in itertools.pairwise(totals)]
    parameters = [sum(p.numel() for p in block.parameters()) for block in stack.blocks]
    flops.append(counter.get_total_flops() - sum(flops))
    parameters.append(stack.model.num_parameters() - sum(parameters))
    return [(n, of / n_tokens) for n, of in zip(parameters, flops, strict=True)]


def _speeds(models: Sequence[PrunedModel]) -> list[list[Score]]:
    """Returns tokens per second of prefill and decoding: medians of interleaved runs."""
    runs: list[list[tuple[float, float]]] = [[] for _ in models]
    for _ in range(1 + N_REPEATS):  # the first run warms up
        for taken, pruned in zip(runs, models, strict=True):
            with pruned.module() as model:
                taken.append(_tokens_per_second(model, pruned.loaded.facts.context))
    names = ("prefill_tokens_per_second", "decode_tokens_per_second")
    medians = [[round(median(speeds), 1) for speeds in zip(*taken[1:], strict=True)] for taken in runs]
    row = partial(ROW, unit="token/s", higher_is_better=True)
    return [[row(metric=name, value=v) for name, v in zip(names, values, strict=True)] for values in medians]


def _tokens_per_second(model: PreTrainedModel, context: int | None) -> tuple[float, float]:
    import torch

    n_prefill = min(N_PREFILL, (context or N_PREFILL) - N_DECODED)
    ids_BT = torch.ones(1, n_prefill, dtype=torch.long, device=model.device)

    def seconds() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return time.perf_counter()

    with torch.inference_mode():
        started = seconds()
        state, token_B1 = model(ids_BT, use_cache=True), ids_BT[:, -1:]
        prefilled = seconds()
        for _ in range(N_DECODED):
            state = model(token_B1, past_key_values=state.past_key_values, use_cache=True)
        decoded = seconds()
    return n_prefill / (prefilled - started), N_DECODED / (decoded - prefilled)
