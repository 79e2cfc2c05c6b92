"""What is allowed as rounding is more than rounding, which float64 tells, and less than any block does."""

import copy

import pytest
import torch

from deprune.core.subset import BlockSubset
from deprune.model.blocks import BlockStack
from deprune.model.rounding import LEAST_UNITS, tolerance
from tests.model.architectures import N_BLOCKS, VOCAB, make_model

IDS = torch.randint(1, VOCAB, (2, 40), generator=torch.Generator().manual_seed(1))
DENSE = BlockSubset(N_BLOCKS)


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "minimax", "qwen3_moe", "mamba2", "falcon_h1"])
@pytest.mark.parametrize("std", [0.15, 0.6], ids=["calm", "wild"])
def test_rounding_is_allowed_and_no_block_is(name: str, std: float) -> None:
    model = make_model(name)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std, generator=torch.Generator().manual_seed(0))
    stack = BlockStack(model)
    logits = stack.run(IDS, DENSE)
    allowed = tolerance(stack, IDS, DENSE, logits)

    precise = copy.deepcopy(model).double()
    precise.config._experts_implementation = "eager"  # the faster one has no float64
    with torch.inference_mode():
        error = (logits - precise(IDS, use_cache=False).logits).abs().max()
    assert error <= allowed
    if (name, std) == ("minimax", 0.6):  # where no constant would do
        assert error > 2 * LEAST_UNITS * torch.finfo(torch.float32).eps * logits.abs().max()
    for block in range(N_BLOCKS):
        assert (stack.run(IDS, BlockSubset.of(N_BLOCKS, [block])) - logits).abs().max() > 20 * allowed


def test_a_model_is_as_coarse_as_its_weights() -> None:
    """Mamba 2 gives logits of float32 from weights of bfloat16."""
    stack = BlockStack(make_model("mamba2").bfloat16())
    logits = stack.run(IDS, DENSE)
    assert tolerance(stack, IDS, DENSE, logits) >= torch.finfo(torch.bfloat16).eps * logits.abs().max()
