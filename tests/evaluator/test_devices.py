"""Several devices, little memory, half precision: the losses stay what they are."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import accelerate
import pytest
import torch
from torch import Tensor

from deprune.core.errors import DepruneError
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.device_memory import MOST_SAMPLES, fitting_batch_size, free_memory
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockInputs, BlockStack
from deprune.model.prune import prune_blocks
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from tests.evaluator.test_evaluator import IDS, SUBSETS, make_evaluator
from tests.model.architectures import make_model


def evaluator_on(*stacks: BlockStack, size: int | None = 2) -> SubsetEvaluator:
    calibration = CalibrationSet(IDS, "sample", "tokens")
    return SubsetEvaluator(
        stacks, calibration, NegativeLogLikelihood(), EvaluatorConfig(batch_size=size), EvaluationStore(None)
    )


def test_copies_of_the_model_share_the_samples_and_change_no_bit() -> None:
    one = evaluator_on(BlockStack(make_model("llama")))
    three = evaluator_on(*(BlockStack(copy.deepcopy(make_model("llama"))) for _ in range(3)))
    assert three.evaluate(SUBSETS) == one.evaluate(SUBSETS)
    assert three.counter == one.counter


def test_an_error_on_one_device_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = evaluator_on(*(BlockStack(copy.deepcopy(make_model("llama"))) for _ in range(2)))

    def broken(*_: object) -> Tensor:
        raise ValueError("broken device")

    monkeypatch.setattr(BlockStack, "run_block", broken)
    with pytest.raises(ValueError, match="broken device"):
        evaluator.evaluate(SUBSETS)


def test_a_model_spread_over_devices_gives_the_same_losses(tmp_path: Path) -> None:
    """Accelerate's hooks move weights and states; half the blocks live on the disk here."""
    whole = BlockStack(copy.deepcopy(make_model("llama")))
    expected = evaluator_on(whole).evaluate(SUBSETS)
    names = [name for name, _ in whole.model.named_children() if name != "model"]
    blocks = [f"model.layers.{i}" for i in range(whole.n_blocks)]
    rest = [f"model.{name}" for name, _ in whole.model.model.named_children() if name != "layers"]
    places = dict.fromkeys([*names, *rest, *blocks], "cpu") | dict.fromkeys(blocks[::2], "disk")
    spread = accelerate.dispatch_model(
        copy.deepcopy(make_model("llama")), places, main_device="cpu", offload_dir=tmp_path, force_hooks=True
    )
    assert evaluator_on(BlockStack(spread)).evaluate(SUBSETS) == expected


def test_batches_are_halved_when_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = evaluator_on(BlockStack(make_model("llama")), size=2).evaluate(SUBSETS)
    evaluator = evaluator_on(BlockStack(make_model("llama")), size=8)
    run_block = BlockStack.run_block

    def small(self: BlockStack, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        if len(hidden_BTD) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run_block(self, index, hidden_BTD, inputs)

    monkeypatch.setattr(BlockStack, "run_block", small)
    with caplog.at_level(logging.WARNING):
        assert evaluator.evaluate(SUBSETS) == expected
    assert [r.getMessage() for r in caplog.records] == [
        "Out of memory with 8 samples at once; going on with 4.",
        "Out of memory with 4 samples at once; going on with 2.",
    ]


def test_memory_that_is_too_small_for_one_sample_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory")

    evaluator = evaluator_on(BlockStack(make_model("llama")), size=2)
    monkeypatch.setattr(BlockStack, "run_block", none)
    with pytest.raises(DepruneError, match="too small for one calibration sample of 12 tokens"):
        evaluator.evaluate(SUBSETS)


def test_batch_size_follows_the_free_memory() -> None:
    stack = BlockStack(make_model("llama"))
    sizes = [fitting_batch_size(stack, 2048, free) for free in (0, 10**6, 10**7, 10**8, 10**12)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[-1] == MOST_SAMPLES
    assert all(size & (size - 1) == 0 for size in sizes), "powers of two"
    assert free_memory(torch.device("cpu")) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_the_pruned_model(dtype: torch.dtype, tmp_path: Path) -> None:
    model = copy.deepcopy(make_model("llama")).to(dtype)
    stack = BlockStack(model)
    shared = evaluator_on(stack).evaluate(SUBSETS)
    alone = SubsetEvaluator(
        [stack], CalibrationSet(IDS, "s", "t"), NegativeLogLikelihood(), EvaluatorConfig(batch_size=2, sharing=False),
        EvaluationStore(None),
    )  # fmt: skip
    assert alone.evaluate(SUBSETS) == shared
    full = make_evaluator(tmp_path, "llama", n=len(IDS)).evaluate(SUBSETS)
    for evaluation, exact in zip(shared, full, strict=True):
        pruned = copy.deepcopy(model)
        prune_blocks(pruned, evaluation.subset)
        with torch.inference_mode():
            loss = pruned(IDS, labels=IDS).loss
        assert evaluation.loss == pytest.approx(float(loss), rel=2e-2)
        assert evaluation.loss == pytest.approx(exact.loss, rel=2e-2)
