"""Physical removal of blocks in memory: weights, layer indices and configuration together.

After removal a model must be what a model of that depth would be: the block count, every per-block list of its
configuration, and every block's own index agree. A stale count or list lets the model take other masks than the
block's own, a stale index breaks the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from deprune.core.subset import BlockSubset
from deprune.model.depth_settings import facts_of, index_steps
from deprune.model.readings import readings
from deprune.model.structure import find_blocks

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def prune_blocks(model: PreTrainedModel, subset: BlockSubset) -> None:
    """Removes blocks from a model in place, for good."""
    blocks, config = find_blocks(model), model.config.get_text_config(decoder=True)
    indices = _block_indices(blocks)
    places = {block: place for place, block in enumerate(subset.kept)}
    _rewrite(config, subset)
    _refill(blocks, [blocks[i] for i in subset.kept])
    for part, name, block, step in indices:
        if block in places:
            vars(part)[name] += step * (places[block] - block)


@contextmanager
def blocks_removed(
    model: PreTrainedModel, subset: BlockSubset, settings: PretrainedConfig | None = None
) -> Iterator[PreTrainedModel]:
    """Gives the physically pruned model for the length of a `with` statement.

    The model is changed in place and restored afterwards, so no weights are copied. Its text configuration is the one
    that is given, as a file could hold it, or else one that serves this model in memory alone.
    """
    blocks, config = find_blocks(model), model.config.get_text_config(decoder=True)
    everything, kind, own = list(blocks), type(config), dict(vars(config))
    indices = _block_indices(blocks)
    before = [(vars(part), name, vars(part)[name]) for part, name, _, _ in indices]
    try:
        prune_blocks(model, subset)
        config.use_cache = False  # nothing that scores a whole text needs one, and some kinds of blocks have none
        if settings is not None:
            config.__class__ = kind
            _become(config, vars(settings))
        yield model
    finally:
        config.__class__ = kind
        _become(config, own)
        _refill(blocks, everything)
        for attributes, name, value in before:
            attributes[name] = value


def _become(config: PretrainedConfig, settings: dict[str, Any]) -> None:
    vars(config).clear()
    vars(config).update(settings)


def _rewrite(config: PretrainedConfig, subset: BlockSubset) -> None:
    """Gives a configuration the settings of the kept blocks, in whatever way it derives them."""
    derived = {name: value for name, value in _derived(config) if len(value) == subset.n_blocks}
    for name, value in [*vars(config).items()]:
        if not name.startswith("_"):
            plain = list(value) if isinstance(value, tuple) else value
            rewritten = readings(name, plain, subset)[0]
            vars(config)[name] = type(value)(rewritten) if isinstance(value, tuple) else rewritten
    if (spec := vars(config).get("_heterogeneity_spec")) is not None:  # what `per_layer_config` becomes
        (by_block, *_) = readings("per_layer_config", spec.per_layer_overrides, subset)
        vars(config)["_heterogeneity_spec"] = replace(spec, per_layer_overrides=by_block)
    wanted = {name: [value[block] for block in subset.kept] for name, value in derived.items()}
    stale = {name: value for name, value in wanted.items() if list(getattr(config, name)) != value}
    if stale:  # a period, a bound: what the class makes of them is put in their place
        config.__class__ = type(type(config).__name__, (type(config),), stale)


def _derived(config: PretrainedConfig) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yields what the class of a configuration derives and is a list."""
    for name in dir(type(config)):
        if isinstance(getattr(type(config), name), property):
            with suppress(Exception):  # some are only there for some settings
                if isinstance(value := getattr(config, name), list | tuple):
                    yield name, value


def _refill(blocks: nn.ModuleList, content: Sequence[nn.Module]) -> None:
    del blocks[:]
    blocks.extend(content)


def _block_indices(blocks: nn.ModuleList) -> list[tuple[nn.Module, str, int, int]]:
    """Returns the modules that know their block's index, under which name, the block, and by how much it grows."""
    steps = index_steps([facts_of(block) for block in blocks])
    return [
        (part, name, index, steps[path, name])
        for index, block in enumerate(blocks)
        for path, part in block.named_modules()
        for name in vars(part)
        if (path, name) in steps
    ]
