"""Whether a model lets the choices of an item share its context."""

from dataclasses import replace

import torch

from deprune.data.draw import DrawnItems
from deprune.data.samples import CalibrationSet
from deprune.model.blocks import BlockStack
from deprune.objective.task_margin import mean_log_likelihoods

N_TRIED = 8
"""Number of items, the longest ones, on which the shared layout is tried."""


def calibration_set(drawn: DrawnItems, stack: BlockStack) -> CalibrationSet:
    """Returns items in the shared layout if the model then gives them the same likelihoods, else row by row.

    A model that takes positions from the order of tokens, has a state in place of attention, or a
    window shorter than the row, does not.
    """
    longest = sorted(drawn.identifying, key=lambda item: item.n_tokens)[-N_TRIED:]
    tried = replace(drawn, tokens=longest, identifying=longest)
    alone = _dense_likelihoods(stack, tried.laid_out(shared=False))
    try:
        together = _dense_likelihoods(stack, tried.laid_out(shared=True))
    except (TypeError, ValueError, RuntimeError):  # it takes no mask or positions of this kind
        return drawn.laid_out(shared=False)
    there = alone.isfinite()
    difference = (together - alone)[there].abs().mean()
    tolerance = max(1e-4, 4 * torch.finfo(stack.model.dtype).eps * float(alone[there].abs().mean()))
    return drawn.laid_out(shared=bool(difference <= tolerance))


@torch.inference_mode()
def _dense_likelihoods(stack: BlockStack, calibration: CalibrationSet) -> torch.Tensor:
    batch = calibration.batch(0, calibration.n_samples, stack.model.device)
    inputs = stack.embed(batch.ids_RT, **batch.model_inputs(stack.model.dtype))
    hidden_RTD = inputs.hidden_BTD
    for block in range(stack.n_blocks):
        hidden_RTD = stack.run_block(block, hidden_RTD, inputs)
    return mean_log_likelihoods(stack, hidden_RTD, batch)
