"""What of a model decides its cost, without its weights, and without a network where that can be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from deprune.model.prune import find_blocks
from deprune.model.source import ModelConfig, ModelFacts, facts_of, read_facts, read_settings


@lru_cache(maxsize=1)
def known() -> Any:
    """Returns the project's table of known models, tasks and corpora."""
    return OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("known.yaml")))


@dataclass(frozen=True)
class Architecture:
    """The sizes of a model.

    Attributes:
        facts: What jobs read of it; the revision is empty where it is not known here.
        source: Where the sizes come from.
        width: D, width of the hidden state.
        attention_width: Heads times width of a head.
        vocabulary: V.
        block_parameters: Parameters of a block, the mean over blocks.
        active_share: Share of a block's parameters that each token uses; below 1 for experts.
        parameters: Parameters of the whole model.
    """

    facts: ModelFacts
    source: str
    width: int
    attention_width: int
    vocabulary: int
    block_parameters: float
    active_share: float
    parameters: int

    def block_flops(self, n_tokens: int) -> float:
        """Returns the operations of a block on one causal sequence [FLOP]."""
        per_token = 2 * self.active_share * self.block_parameters + 2 * n_tokens * self.attention_width
        return n_tokens * per_token

    def head_flops(self, n_tokens: int) -> float:
        """Returns the operations of the head on some tokens [FLOP]."""
        return 2.0 * n_tokens * self.width * self.vocabulary


@lru_cache(maxsize=32)
def architecture_of(config: ModelConfig) -> Architecture:
    """Returns the sizes of a model: from its folder, the local cache, the table of known models, or the Hub.

    Raises:
        DataError: They are in none of these.
        ConfigError: The path is neither a model folder nor a repository.
        UnsupportedModelError: The model is not a decoder.
    """
    if not config.on_hub:
        return _sized(config, read_settings(config), read_facts(config), "its folder")
    if (folder := _cached(config)) is not None:
        settings = read_settings(dataclasses.replace(config, path=str(folder)))
        return _sized(config, settings, facts_of(config, settings, folder.name), "the local cache")
    if config.path in known()["models"]:
        values = dict(known()["models"][config.path])
        settings = AutoConfig.for_model(values.pop("model_type"), **values)
        return _sized(config, settings, facts_of(config, settings, ""), "the project's table of known models")
    return _sized(config, read_settings(config), read_facts(config), "the Hub")


def _cached(config: ModelConfig) -> Path | None:
    """Returns the folder of a repository in the local cache, where its configuration is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(config.path, "config.json", revision=config.revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def _sized(config: ModelConfig, settings: PretrainedConfig, facts: ModelFacts, source: str) -> Architecture:
    """Counts parameters on a model that is built without memory."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings, trust_remote_code=config.trust_remote_code)
    blocks, text = find_blocks(model), settings.get_text_config(decoder=True)
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Architecture(
        facts=facts,
        source=source,
        width=text.hidden_size,
        attention_width=text.num_attention_heads * head_width,
        vocabulary=model.get_input_embeddings().num_embeddings,
        block_parameters=sum(p.numel() for p in blocks.parameters()) / len(blocks),
        active_share=_active_share(blocks, text),
        parameters=model.num_parameters(),
    )


def _active_share(blocks: torch.nn.ModuleList, text: PretrainedConfig) -> float:
    """Returns the share of the blocks' parameters that a token uses, of experts as many as it is sent to."""
    n_active = getattr(text, "num_experts_per_tok", None)
    n_experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None)
    if not n_active or not n_experts:
        return 1.0
    every = sum(p.numel() for p in blocks.parameters())
    experts = sum(p.numel() for name, p in blocks.named_parameters() if ".experts." in name)
    return 1 - experts / every * (1 - float(n_active) / float(n_experts))
