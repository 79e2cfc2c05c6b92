"""What pruning saves: parameters, floating-point operations, and measured tokens per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from deprune.core.memory import Memory
from deprune.data.heldout import window_length
from deprune.downstream.base import Score, Scorer, Size

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from deprune.model.blocks import BlockStack
    from deprune.model.pruned import PrunedModel
    from deprune.model.source import ModelConfig

SUBJECT = "model"
"""Stands where other scorers name a task."""

N_PREFILL = 512
"""Number of tokens of the prompt on which speed is measured, where the context allows it."""

N_DECODED = 16
"""Number of tokens that are generated, one by one."""

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

    def identity(self, key: str) -> dict[str, Any]:
        """Returns the setting that identities of runs have held from the first."""
        return {"speed": self.speed}

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns nothing: counting takes no time, and speeds are seconds on a device that is known."""
        return Size()

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        """Returns counts, then speeds."""
        rows = [_counts(pruned) for pruned in models]
        speeds = _speeds(models) if self.speed else [[]] * len(models)
        return [counted + timed for counted, timed in zip(rows, speeds, strict=True)]


def _counts(pruned: PrunedModel) -> list[Score]:
    loaded, kept = pruned.loaded, pruned.subset.kept
    costs = loaded.memory.once(costs_by_block, loaded.stack, window_length(loaded.facts.context))
    parameters = costs.parameters_outside + sum(costs.parameters[b] for b in kept)
    flops = costs.flops_outside + sum(costs.flops[b] for b in kept)
    counts = (("parameters", parameters, "parameters"), ("flops_per_token", flops, "FLOP/token"))
    return [_row(name, float(value), unit, higher_is_better=False) for name, value, unit in counts]


def _row(metric: str, value: float, unit: str, *, higher_is_better: bool) -> Score:
    return Score(
        task=SUBJECT, metric=metric, response=None, value=value, stderr=None, unit=unit,
        higher_is_better=higher_is_better,
    )  # fmt: skip


@dataclass(frozen=True)
class BlockCosts:
    """What the blocks of a model cost, and what is outside of them; FLOPs are per token."""

    parameters: tuple[int, ...]
    flops: tuple[float, ...]
    parameters_outside: int
    flops_outside: float


def costs_by_block(stack: BlockStack, n_tokens: int) -> BlockCosts:
    """Returns what each block of a model costs, counted, not measured.

    Args:
        stack: The model.
        n_tokens: Length of the sequence on which operations are counted [tokens].
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ids_BT = torch.zeros(1, n_tokens, dtype=torch.long, device=stack.model.device)
    with FlopCounterMode(display=False) as counter:
        inputs = stack.embed(ids_BT)
    hidden_BTD, per_block = inputs.hidden_BTD, []
    outside = counter.get_total_flops()
    for block in range(stack.n_blocks):
        with FlopCounterMode(display=False) as counter:
            hidden_BTD = stack.run_block(block, hidden_BTD, inputs)
        per_block.append(counter.get_total_flops() / n_tokens)
    with FlopCounterMode(display=False) as counter:
        stack.logits(hidden_BTD)
    outside += counter.get_total_flops()
    parameters = tuple(sum(p.numel() for p in block.parameters()) for block in stack.blocks)
    return BlockCosts(parameters, tuple(per_block), stack.model.num_parameters() - sum(parameters), outside / n_tokens)


def _speeds(models: Sequence[PrunedModel]) -> list[list[Score]]:
    """Returns tokens per second of prefill and decoding: medians of interleaved runs."""
    runs: list[list[tuple[float, float]]] = [[] for _ in models]
    for repeat in range(N_REPEATS + 1):
        for taken, pruned in zip(runs, models, strict=True):
            with pruned.module() as model:
                speeds = _tokens_per_second(model, pruned.loaded.facts.context)
            if repeat:  # the first run warms up
                taken.append(speeds)
    names = ("prefill_tokens_per_second", "decode_tokens_per_second")
    return [
        [
            _row(name, round(median(values), 1), "token/s", higher_is_better=True)
            for name, values in zip(names, zip(*taken, strict=True), strict=True)
        ]
        for taken in runs
    ]


def _tokens_per_second(model: PreTrainedModel, context: int | None) -> tuple[float, float]:
    import torch

    n_prefill = min(N_PREFILL, (context or N_PREFILL) - N_DECODED)
    ids_BT = torch.ones(1, n_prefill, dtype=torch.long, device=model.device)

    def decode() -> None:
        state, token_B1 = output, ids_BT[:, -1:]
        for _ in range(N_DECODED):
            state = model(token_B1, past_key_values=state.past_key_values, use_cache=True)

    with torch.inference_mode():
        output, prefill_seconds = _timed(lambda: model(ids_BT, use_cache=True), model.device)
        _, decode_seconds = _timed(decode, model.device)
    return n_prefill / prefill_seconds, N_DECODED / decode_seconds


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    import torch

    started = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started
