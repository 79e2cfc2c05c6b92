"""What pruning saves: parameters, floating-point operations, and measured tokens per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from deprune.core.subset import BlockSubset
from deprune.model.blocks import BlockStack
from deprune.model.load import LoadedModel
from deprune.model.prune import blocks_removed

N_PREFILL = 512
"""Number of tokens of the prompt on which speed is measured, where the context allows it."""

N_DECODED = 16
"""Number of tokens that are generated, one by one."""

N_REPEATS = 5
"""Number of interleaved runs, of which the median counts."""


@lru_cache(maxsize=4)
def costs_by_block(loaded: LoadedModel, n_tokens: int) -> tuple[tuple[int, ...], tuple[float, ...], int, float]:
    """Returns what each block of the dense model costs, and what all of it does.

    Args:
        loaded: The model.
        n_tokens: Length of the sequence on which operations are counted [tokens].

    Returns:
        Parameters of each block, FLOPs per token of each block, parameters of the model, FLOPs per token of it.
    """
    stack = loaded.stack
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
    return parameters, tuple(per_block), stack.model.num_parameters(), sum(per_block) + outside / n_tokens


def efficiency(loaded: LoadedModel, subset: BlockSubset, n_tokens: int) -> dict[str, float]:
    """Returns parameters and FLOPs per token of the pruned and the dense model, counted, not measured."""
    parameters, flops, all_parameters, all_flops = costs_by_block(loaded, n_tokens)
    return {
        "parameters": all_parameters - sum(parameters[b] for b in subset.removed),
        "parameters_dense": all_parameters,
        "flops_per_token": all_flops - sum(flops[b] for b in subset.removed),
        "flops_per_token_dense": all_flops,
    }


def measure_speed(loaded: LoadedModel, subset: BlockSubset) -> dict[str, float]:
    """Returns tokens per second of prefill and decoding, dense and pruned: medians of interleaved runs."""
    names = ("prefill", "decode", "prefill_dense", "decode_dense")
    runs: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(N_REPEATS + 1):
        for suffix, removed in (("", subset), ("_dense", BlockSubset(subset.n_blocks))):
            with blocks_removed(loaded.stack.model, removed):
                prefill, decode = _tokens_per_second(loaded.stack, loaded.facts.context)
            if repeat:  # the first run warms up
                runs[f"prefill{suffix}"].append(prefill)
                runs[f"decode{suffix}"].append(decode)
    return {f"{name}_tokens_per_second": round(median(values), 1) for name, values in runs.items()}


@torch.inference_mode()
def _tokens_per_second(stack: BlockStack, context: int | None) -> tuple[float, float]:
    model = stack.model
    n_prefill = min(N_PREFILL, (context or N_PREFILL) - N_DECODED)
    ids_BT = torch.ones(1, n_prefill, dtype=torch.long, device=model.device)
    output, prefill_seconds = _timed(lambda: model(ids_BT, use_cache=True), model.device)

    def decode() -> None:
        state, token_B1 = output, ids_BT[:, -1:]
        for _ in range(N_DECODED):
            state = model(token_B1, past_key_values=state.past_key_values, use_cache=True)

    _, decode_seconds = _timed(decode, model.device)
    return n_prefill / prefill_seconds, N_DECODED / decode_seconds


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started
