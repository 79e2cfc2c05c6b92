"""How much of an evaluation's time is neither block nor head arithmetic?

    python experiments/benchmarks/overhead.py

Hooks on the modules themselves time the blocks and the output embedding; the rest of the objective's own
arithmetic (the softmax) counts with the head. What is left of the wall time is overhead. Writes overhead.csv.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from models import random_llama, random_windows
from torch import nn

from deprune.core.subset import SearchSpace
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.model.load import load_model
from deprune.model.source import ModelConfig
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore

N_REPEATS = 3


class Clock:
    """Seconds by part."""

    def __init__(self, stack: BlockStack) -> None:
        self.seconds: Counter[str] = Counter()
        self._started: dict[int, float] = {}
        for block in stack.blocks:
            self._watch(block, "blocks")
        self._watch(stack.model.get_output_embeddings(), "head")

    def _watch(self, module: nn.Module, part: str) -> None:
        def before(*_: Any) -> None:
            self._started[id(module)] = time.perf_counter()

        def after(*_: Any) -> None:
            self.seconds[part] += time.perf_counter() - self._started[id(module)]

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)


def measure(name: str, stack: BlockStack, windows: CalibrationSet, budget: int) -> dict[str, object]:
    """Returns the parts of the time that all extensions of the first blocks take."""
    clock = Clock(stack)
    logits, score = BlockStack.logits, NegativeLogLikelihood.score

    def timed_logits(self: BlockStack, hidden: Any) -> Any:
        started = time.perf_counter()
        result = logits(self, hidden)
        clock.seconds["logits"] += time.perf_counter() - started
        return result

    def timed_score(self: NegativeLogLikelihood, *args: Any) -> Any:
        started = time.perf_counter()
        result = score(self, *args)
        clock.seconds["score"] += time.perf_counter() - started
        return result

    BlockStack.logits, NegativeLogLikelihood.score = timed_logits, timed_score  # type: ignore[method-assign]
    try:
        best: dict[str, object] = {}
        for _ in range(N_REPEATS):
            evaluator = SubsetEvaluator(
                [stack], windows, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(None)
            )
            clock.seconds.clear()
            started = time.perf_counter()
            evaluator.evaluate(list(SearchSpace(stack.n_blocks, budget).subsets())[: 4 * stack.n_blocks])
            total = time.perf_counter() - started
            softmax = clock.seconds["score"] - clock.seconds["logits"]
            arithmetic = clock.seconds["blocks"] + clock.seconds["head"] + softmax
            row = {
                "model": name,
                "parameters_millions": round(stack.model.num_parameters() / 1e6, 1),
                "samples": windows.n_samples,
                "seq_len": windows.ids_RT.shape[1],
                "seconds": round(total, 3),
                "blocks_share": round(clock.seconds["blocks"] / total, 4),
                "head_share": round((clock.seconds["head"] + softmax) / total, 4),
                "overhead_share": round(1 - arithmetic / total, 4),
            }
            if not best or total < best["seconds"]:  # type: ignore[operator]
                best = row
    finally:
        BlockStack.logits, NegativeLogLikelihood.score = logits, score  # type: ignore[method-assign]
    return best


def main() -> None:
    """Measures the embedded models and a random Llama of 100 million parameters."""
    rows = []
    for family in ("tiny_llama", "tiny_qwen3", "tiny_neox"):
        stack = load_model(ModelConfig(path=f"deprune:{family}", name=family), "cpu", "float32").stack
        rows += [measure(family, stack, random_windows(32, length, 256), 2) for length in (64, 128, 256)]
    rows.append(measure("random Llama", random_llama(12, 768, 16_000), random_windows(4, 256, 16_000), 1))
    table = pd.DataFrame(rows)
    table.to_csv(Path(__file__).with_name("overhead.csv"), index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
