"""Loading of models: from the package, a local folder, or the Hub."""

import copy
import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from deprune.core.errors import UnsupportedModelError
from deprune.core.memory import Memory
from deprune.model.blocks import BlockStack
from deprune.model.folder import GENERATION, fault_of_weights, heads_of
from deprune.model.source import (
    ModelConfig,
    ModelFacts,
    folder_of,
    load_tokenizer,
    model_identity,
    quantisation_of,
    read_facts,
    read_part,
    read_settings,
)
from deprune.model.weights import check_fit, check_numbers, check_stored


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
        UnsupportedModelError: The weights are no safetensors, not whole, not those of the model that its config.json
            describes, or not finite; or the model's blocks cannot be run one by one.
    """
    memory = memory or Memory()
    facts = memory.once(read_facts, config)
    if not sys.stderr.isatty():
        disable_progress_bar()
    model: Any = _read_model(config, facts, dtype)
    tokenizer = memory.once(load_tokenizer, config)
    if config.device_map is not None:
        check_numbers(config, model)
        return LoadedModel(config, facts, (BlockStack(model),), tokenizer, dtype)
    first, *others = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device == "cuda" else [device]
    check_numbers(config, model.to(first))
    stacks = (BlockStack(model), *(BlockStack(copy.deepcopy(model).to(other)) for other in others))
    return LoadedModel(config, facts, stacks, tokenizer, dtype)


def _read_model(config: ModelConfig, facts: ModelFacts, dtype: str) -> Any:
    """Returns a model whose weights are all those of its files, of the revision that the facts are of."""
    pinned = dataclasses.replace(config, revision=facts.revision) if config.on_hub else config
    how: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "device_map": config.device_map}
    how |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # what does not fit is said here, by name
    try:
        model, info = read_part(AutoModelForCausalLM, pinned, "weights of {}", **how)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(_reason(pinned) or str(error)) from error
    check_stored(config, model, heads_of(folder_of(pinned)))
    check_fit(config, model, info)
    return model


def _reason(config: ModelConfig) -> str | None:
    """Returns the sentence of why weights cannot be loaded, where it is not that of transformers."""
    if fault := fault_of_weights(folder_of(config)):
        return f"The weights of {config.path} cannot be loaded: {fault}."
    if (folder_of(config) / GENERATION).is_file():  # which transformers reads together with the weights
        read_part(GenerationConfig, config, f"{GENERATION} of {{}}", [GENERATION])
    if method := quantisation_of(read_settings(config)):
        quantised = f"The weights of {config.path} are quantised ({method}) and cannot be loaded here"
        return f"{quantised}; take the unquantised repository."
    return None
