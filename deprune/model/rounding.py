"""How far two ways of computing the same logits may differ, measured on the model itself.

Models amplify rounding by very different factors, so no constant tells rounding from another computation. The hidden
state is therefore moved by one unit in its last place after the embedding and after every block, at random up or down:
what this does to the logits is of the size of what another order of sums does.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deprune.core.subset import BlockSubset

if TYPE_CHECKING:
    from deprune.model.blocks import Stack

LEAST_UNITS = 16
"""Units in the last place of the largest logit that are always allowed."""

TIMES_MEASURED = 8
"""How much more than the measured movement is allowed: a block rounds many times, and is moved once."""


@torch.inference_mode()
def tolerance(stack: Stack, ids_BT: Tensor, subset: BlockSubset, expected_BTV: Tensor) -> float:
    """Returns the difference that rounding alone can make to logits; half of their digits are never all rounding."""
    source = torch.Generator().manual_seed(0)

    def moved(state: Tensor) -> Tensor:
        up_or_down = torch.randint(2, state.shape, generator=source).to(state) * 2 - 1
        return state + up_or_down * state.abs() * torch.finfo(state.dtype).eps

    inputs = stack.embed(ids_BT)
    hidden = moved(inputs.hidden_BTD)
    for block in subset.kept:
        hidden = moved(stack.run_block(block, hidden, inputs))
    largest = expected_BTV.abs().max().item()
    unit = max(torch.finfo(dtype).eps for dtype in (expected_BTV.dtype, hidden.dtype, stack.model.dtype))
    measured = (stack.logits(hidden) - expected_BTV).abs().max().item()
    return max(LEAST_UNITS * unit * largest, min(TIMES_MEASURED * measured, sqrt(unit) * largest))
