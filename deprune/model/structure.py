"""What a model consists of, read off its modules: where its blocks are, how many, and how wide, for any decoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from deprune.core.errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@contextmanager
def without_weights() -> Iterator[None]:
    """Lets models be built without memory for their weights; that there is nothing to initialise is no news."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        yield


def skeleton(settings: PretrainedConfig, *, trust_remote_code: bool) -> PreTrainedModel:
    """Returns the model that a configuration describes, without memory for its weights."""
    with without_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(settings, trust_remote_code=trust_remote_code)
    return model


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the decoder blocks of a model; see `block_list`."""
    return block_list(model)[1]


def block_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Returns the name and the module of the list of a model's decoder blocks, found by structure.

    Of the decoder's module lists with parameters that lie in no other, it is the one that is as long as the configured
    number of blocks; where there is none, as where that counts something else or is not said, the one that holds most
    of the parameters of all of them. Single blocks may be without parameters.

    Raises:
        UnsupportedModelError: There is no such list, or more than one.
    """
    sizes = _outer_lists(model)
    n_blocks = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    name = type(model).__name__
    if as_configured := [path for path, (blocks, _) in sizes.items() if len(blocks) == n_blocks]:
        if len(as_configured) > 1:
            found_lists = f"{name} has {len(as_configured)} module lists of {n_blocks} blocks"
            supported = "only decoder-only models with one stack of blocks are supported"
            raise UnsupportedModelError(f"{found_lists} where there must be one; {supported}.")
        return as_configured[0], sizes[as_configured[0]][0]
    for path, (blocks, size) in sizes.items():
        if 2 * size > sum(other for _, other in sizes.values()):
            return path, blocks
    supported = "only decoder-only models whose blocks are one list of modules are supported"
    raise UnsupportedModelError(f"{name} has no module list that could be its blocks; {supported}.")


def width_of(model: PreTrainedModel) -> int:
    """Returns the width of the hidden state: as configured, else that of the embedding."""
    configured: int | None = getattr(model.config.get_text_config(decoder=True), "hidden_size", None)
    return configured or int(cast(nn.Embedding, model.get_input_embeddings()).weight.shape[1])


def _outer_lists(model: PreTrainedModel) -> dict[str, tuple[nn.ModuleList, int]]:
    """Returns the decoder's outermost module lists with their numbers of parameters; of a whole model if it has none.

    Those of another tower, such as one for images, are not the decoder's.
    """
    names = {module: path for path, module in model.named_modules()}
    decoder = names.get(model.get_decoder(), "")
    lists = {p: m for m, p in names.items() if isinstance(m, nn.ModuleList) and next(m.parameters(), None) is not None}
    inside = {p: m for p, m in lists.items() if not decoder or p.startswith(f"{decoder}.")} or lists
    outermost = {p: m for p, m in inside.items() if not any(p.startswith(f"{other}.") for other in inside)}
    return {p: (m, sum(parameter.numel() for parameter in m.parameters())) for p, m in outermost.items()}
