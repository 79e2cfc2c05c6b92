"""Physical removal of blocks: weights, layer indices and configuration together.

After removal a model must be what a model of that depth would be: the block count, every per-block list of its
configuration, and every block's own index agree. A stale count reloads with randomly initialised blocks, a stale list
not at all, a stale index breaks the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from deprune.core.subset import BlockSubset
from deprune.model.structure import find_blocks

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def prune_blocks(model: PreTrainedModel, subset: BlockSubset) -> None:
    """Removes blocks from a model in place, for good."""
    blocks, config = find_blocks(model), model.config.get_text_config(decoder=True)
    for key in _depth_settings(config):
        config.__dict__[key] = _sliced(key, config.__dict__[key], subset.kept)
    _refill(blocks, [blocks[i] for i in subset.kept])
    for new_index, block in enumerate(blocks):
        for module, name, _ in _block_indices(block):
            setattr(module, name, new_index)


@contextmanager
def blocks_removed(model: PreTrainedModel, subset: BlockSubset) -> Iterator[PreTrainedModel]:
    """Gives the physically pruned model for the length of a `with` statement.

    The model is changed in place and restored afterwards, so no weights are copied.
    """
    blocks, config = find_blocks(model), model.config.get_text_config(decoder=True)
    everything = list(blocks)
    indices = [entry for block in everything for entry in _block_indices(block)]
    settings = {key: config.__dict__[key] for key in _depth_settings(config)}
    try:
        prune_blocks(model, subset)
        yield model
    finally:
        config.__dict__.update(settings)
        _refill(blocks, everything)
        for module, name, index in indices:
            setattr(module, name, index)


def _depth_settings(config: PretrainedConfig) -> list[str]:
    """Returns the names of the settings that hold the block count or one entry per block."""
    n_blocks = config.num_hidden_layers
    count = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    per_block = [
        key
        for key, value in config.__dict__.items()
        if isinstance(value, list | tuple) and len(value) == n_blocks and not key.endswith("token_id")
    ]
    # GPT-Neo writes its per-block list a second time in run-length form.
    return [count, *per_block, *(["attention_types"] if config.model_type == "gpt_neo" else [])]


def _sliced(key: str, value: Any, kept: Sequence[int]) -> Any:
    if isinstance(value, int):
        return len(kept)
    if key == "attention_types":
        unrolled = [kind for kinds, repeats in value for kind in kinds * repeats]
        return [[[unrolled[i] for i in kept], 1]]
    return type(value)(value[i] for i in kept)


def _refill(blocks: nn.ModuleList, content: Sequence[nn.Module]) -> None:
    del blocks[:]
    blocks.extend(content)


def _block_indices(block: nn.Module) -> list[tuple[nn.Module, str, int]]:
    """Returns the modules of a block that know the block's index, under which name, and it."""
    return [
        (module, name, module.__dict__[name])
        for module in block.modules()
        for name in ("layer_idx", "layer_id")
        if isinstance(module.__dict__.get(name), int)
    ]
