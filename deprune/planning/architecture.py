"""What of a model decides its cost, without its weights, and without a network where that can be."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deprune.data.known import known
from deprune.model.folder import heads_of
from deprune.model.source import ModelConfig, ModelFacts, facts_of, read_facts, read_settings

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a model.

    Attributes:
        facts: What jobs read of it; the revision is empty where it is not known here.
        source: Where the sizes come from.
        width: D, width of the hidden state.
        attention_width: Heads times width of a head.
        block_parameters: Parameters of a block, the mean over blocks.
        active_share: Share of a block's parameters that each token uses; below 1 for experts.
    """

    facts: ModelFacts
    source: str
    width: int
    attention_width: int
    vocabulary: int
    block_parameters: float
    parameters: int
    active_share: float = 1.0

    def block_flops(self, n_tokens: int) -> float:
        """Returns the operations of a block on one causal sequence [FLOP]."""
        return n_tokens * (2 * self.active_share * self.block_parameters + 2 * n_tokens * self.attention_width)

    def head_flops(self, n_tokens: int) -> float:
        """Returns the operations of the head on some tokens [FLOP]."""
        return 2.0 * n_tokens * self.width * self.vocabulary


def architecture_of(config: ModelConfig) -> Architecture:
    """Returns the sizes of a model: from its folder, the local cache, the table of known models, or the Hub.

    Raises:
        DataError: They are in none of these.
        ConfigError: The path is neither a model folder nor a repository.
        UnsupportedModelError: The model is not a decoder.
    """
    if not config.on_hub:
        return _sized(config, read_facts(config), "its folder")
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(config.path, "config.json", revision=config.revision or "main")
    if isinstance(cached, str):
        here = replace(config, path=str(Path(cached).parent))
        return _sized(here, facts_of(config, read_settings(here), Path(here.path).name), "the local cache")
    if sizes := {**known()["models"].get(config.path, {})}:
        facts = ModelFacts(sizes.pop("n_blocks"), sizes.pop("context"), revision="")
        return Architecture(facts=facts, source="the project's table of known models", **sizes)
    return _sized(config, read_facts(config), "the Hub")


def _sized(config: ModelConfig, facts: ModelFacts, source: str) -> Architecture:
    text: Any = read_settings(config).get_text_config(decoder=True)
    shapes = _stored_shapes(Path(config.source), getattr(text, "tie_word_embeddings", False))  # none of a repository
    if not (blocks := _block_sizes(shapes, facts.n_blocks)):
        shapes = _shapes_of_code(config)
        blocks = _block_sizes(shapes, facts.n_blocks)
    every, experts = sum(blocks.values()), sum(n for name, n in blocks.items() if ".experts." in name)
    n_active = getattr(text, "num_experts_per_tok", None)
    n_experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None)
    idle = 1 - n_active / n_experts if n_active and n_experts else 0.0
    width = getattr(text, "hidden_size", None) or _width_of_code(config)
    n_heads = getattr(text, "num_attention_heads", None)
    head_width = getattr(text, "head_dim", None) or (width // n_heads if n_heads else width)
    return Architecture(
        facts=facts, source=source, width=width, attention_width=(n_heads or 1) * head_width,
        vocabulary=text.vocab_size, block_parameters=every / facts.n_blocks, active_share=1 - experts / every * idle,
        parameters=sum(map(math.prod, shapes.values())),
    )  # fmt: skip


def _stored_shapes(folder: Path, is_tied: bool) -> Shapes:
    """Returns the shapes that a folder's files of weights state; nothing where one of its files is missing.

    What is no parameter is left out: scalars, masks of four dimensions, frequencies, and a stored head that is tied.
    """
    unwanted = r"inv_freq$" + r"|^lm_head\.weight$" * is_tied
    stored = {name: tuple(head["shape"]) for name, head in heads_of(folder).items()}
    return {name: shape for name, shape in stored.items() if len(shape) in (1, 2, 3) and not re.search(unwanted, name)}


def _shapes_of_code(config: ModelConfig) -> Shapes:
    """Returns the shapes of a model that is built without memory."""
    from deprune.model.structure import skeleton

    model = skeleton(read_settings(config), trust_remote_code=config.trust_remote_code)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _width_of_code(config: ModelConfig) -> int:
    from deprune.model.structure import skeleton, width_of

    return width_of(skeleton(read_settings(config), trust_remote_code=config.trust_remote_code))


def _block_sizes(shapes: Shapes, n_blocks: int) -> dict[str, int]:
    """Returns the numbers of parameters of everything in the one list of so many blocks; nothing if there is none."""
    lists: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name in shapes:
        if found := re.match(r"(.+?)\.(\d+)\.", name):
            lists[found[1]][name] = int(found[2])
    fitting = [parts for parts in lists.values() if {*parts.values()} == {*range(n_blocks)}]
    return {name: math.prod(shapes[name]) for name in fitting[0]} if len(fitting) == 1 else {}
