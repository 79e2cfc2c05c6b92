"""Loading of models: from the package, a local folder, or the Hub."""

import copy
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from deprune.core.memory import Memory
from deprune.model.blocks import BlockStack
from deprune.model.source import ModelConfig, ModelFacts, load_tokenizer, model_identity, read_facts, read_part


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A dense model in memory with its tokenizer.

    Attributes:
        stacks: The model, and copies of it on the other GPUs.
        memory: What was computed of this model, which goes when it goes.
    """

    config: ModelConfig
    facts: ModelFacts
    stacks: tuple[BlockStack, ...]
    tokenizer: PreTrainedTokenizerBase
    dtype: str
    memory: Memory = field(default_factory=Memory)

    @property
    def stack(self) -> BlockStack:
        """The model as blocks, on the first device."""
        return self.stacks[0]

    def identity(self) -> dict[str, Any]:
        """Returns everything that can change what it computes: content, dtype, kind of attention, type of device."""
        model = self.stack.model
        runs = {"attention": model.config._attn_implementation, "device": model.device.type}
        return model_identity(self.config, self.facts, self.dtype) | runs


def load_model(config: ModelConfig, device: str, dtype: str, memory: Memory | None = None) -> LoadedModel:
    """Returns a model in memory, on the device `cpu`, `cuda:<n>`, or `cuda` for all GPUs that are visible.

    Raises:
        DataError: The Hub does not answer or does not give the model.
        UnsupportedModelError: The folder holds no safetensors weights, or the model's blocks cannot be run one by one.
    """
    memory = memory or Memory()
    facts = memory.once(read_facts, config)
    if not sys.stderr.isatty():
        disable_progress_bar()
    remark = "; they must be safetensors of a decoder, for pickled ones can run code"
    how = {"dtype": dtype, "use_safetensors": True, "device_map": config.device_map}
    model = read_part(AutoModelForCausalLM, config, "weights", remark, **how)
    tokenizer = memory.once(load_tokenizer, config)
    if config.device_map is not None:
        return LoadedModel(config, facts, (BlockStack(model),), tokenizer, dtype)
    first, *others = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device == "cuda" else [device]
    stacks = (BlockStack(model.to(first)), *(BlockStack(copy.deepcopy(model).to(other)) for other in others))
    return LoadedModel(config, facts, stacks, tokenizer, dtype)
