"""Where the blocks of a model are: found by structure, for any decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from deprune.core.errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the decoder blocks of a model, found by structure.

    They are the one module list with parameters that is as long as the configured number of blocks.

    Raises:
        UnsupportedModelError: There is no such list, or more than one.
    """
    n_blocks = model.config.get_text_config(decoder=True).num_hidden_layers
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == n_blocks
        and all(next(block.parameters(), None) is not None for block in module)
    }
    outermost = [n for n in found if not any(n.startswith(f"{other}.") for other in found)]
    if len(outermost) != 1:
        found_lists = f"{type(model).__name__} has {len(outermost)} module lists of {n_blocks} blocks"
        supported = "only decoder-only models with one stack of blocks are supported"
        raise UnsupportedModelError(f"{found_lists} where there must be one; {supported}.")
    return found[outermost[0]]
