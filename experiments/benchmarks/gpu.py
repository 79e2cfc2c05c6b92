"""An 8B-shaped random Llama on one GPU: seconds, memory, and the share of the card's own matrix rate.

    python experiments/benchmarks/gpu.py                                        # 64 × 2,048 tokens, bfloat16
    python experiments/benchmarks/gpu.py width=256 vocabulary=4096 samples=4 tokens=128   # a trial on a CPU

The matrix rate is measured on the same device in the same run, with square products of the width of the MLP.
Operations of an evaluation are counted by torch on one sequence, block by block.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from models import random_llama, random_windows
from torch.utils.flop_counter import FlopCounterMode

from deprune.core.subset import SearchSpace
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem, Search
from deprune.search.greedy import Greedy
from deprune.search.oneshot import OneShot

DEFAULTS = {"blocks": 32, "width": 4096, "vocabulary": 128_256, "samples": 64, "tokens": 2048, "budget": 7}


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Returns the wall time of some work, with all kernels finished."""
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(size: int, dtype: torch.dtype, device: str) -> float:
    """Returns the best rate of square matrix products [FLOP/s]."""
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    seconds = min(seconds_of(lambda: a @ b, device) for _ in range(5))
    return 2 * size**3 / seconds


def flops_of(stack: BlockStack, n_tokens: int) -> tuple[float, float]:
    """Returns the operations of one block and of the head on one sequence [FLOP]."""
    inputs = stack.embed(torch.zeros(1, n_tokens, dtype=torch.long, device=stack.model.device))
    with FlopCounterMode(display=False) as block:
        hidden_BTD = stack.run_block(0, inputs.hidden_BTD, inputs)
    with FlopCounterMode(display=False) as head:
        stack.logits(hidden_BTD[:, :1])
    return block.get_total_flops(), head.get_total_flops() * n_tokens


def measure(stack: BlockStack, search: Search, setting: dict[str, int], rate: float, device: str) -> dict[str, object]:
    """Runs a search; returns its cost and how well it used the device."""
    windows = random_windows(setting["samples"], setting["tokens"], setting["vocabulary"])
    evaluator = SubsetEvaluator([stack], windows, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(None))
    problem = Problem(SearchSpace(stack.n_blocks, setting["budget"]), evaluator)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(lambda: search.run(problem, np.random.default_rng(0)), device)
    per_block, per_head = flops_of(stack, setting["tokens"])
    flops = per_block * evaluator.counter.block_calls + per_head * evaluator.counter.sample_evaluations
    return {
        "search": type(search).__name__,
        "evaluations": evaluator.counter.computed,
        "block_calls_per_sequence": evaluator.counter.block_calls / windows.n_samples,
        "seconds": round(seconds, 2),
        "peak_memory_GB": round(torch.cuda.max_memory_allocated() / 1e9, 1) if device == "cuda" else None,
        "share_of_matrix_rate": round(flops / seconds / rate, 3),
    }


def main() -> None:
    """Measures one-shot and greedy removal and prints one line of JSON for each."""
    setting = DEFAULTS | {key: int(value) for key, _, value in (word.partition("=") for word in sys.argv[1:])}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device == "cuda" else "float32"
    stack = random_llama(setting["blocks"], setting["width"], setting["vocabulary"], dtype, device)
    rate = matrix_rate(min(8192, 4 * setting["width"]), getattr(torch, dtype), device)
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(json.dumps({"device": name, "dtype": dtype, "matrix_TFLOP_per_s": round(rate / 1e12, 3), **setting}))
    for search in (OneShot(), Greedy()):
        print(json.dumps(measure(stack, search, setting, rate, device)), flush=True)


if __name__ == "__main__":
    main()
