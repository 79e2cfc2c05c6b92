"""Loading of models: from the package, a local folder, or the Hub."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.fingerprint import digest_of_files
from deprune.data.hub import hub_errors, pinned_revision, require_hub
from deprune.model.blocks import BlockStack

EMBEDDED_PREFIX = "deprune:"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded" / "models"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model to prune.

    Attributes:
        path: A Hub repository, a local folder, or `deprune:<family>` for an embedded model.
        name: The name in records, tables and plots; by default the last part of the path.
        revision: Branch, tag or commit on the Hub; by default the newest commit of `main`.
        trust_remote_code: Run Python code from the model's repository.
        device_map: `auto` spreads the layers of a model that is too large for one GPU over all of them.
    """

    path: str
    name: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    device_map: str | None = None

    def __post_init__(self) -> None:
        if self.device_map not in (None, "auto"):
            raise ConfigError(f"The value of 'model.device_map' is '{self.device_map}', but must be auto or null.")

    @property
    def label(self) -> str:
        """The name in records, tables and plots."""
        return self.name or self.path.rstrip("/").rpartition("/")[2]

    @property
    def on_hub(self) -> bool:
        """Whether the model comes from the Hub."""
        return not self.path.startswith(EMBEDDED_PREFIX) and not Path(self.path).is_dir()

    @property
    def public_path(self) -> str | None:
        """The path where it means the same on every machine, else None."""
        return None if Path(self.path).is_dir() else self.path

    @property
    def source(self) -> str:
        """The folder or repository that transformers is given."""
        if self.path.startswith(EMBEDDED_PREFIX):
            return str(EMBEDDED_FOLDER / self.path.removeprefix(EMBEDDED_PREFIX))
        return self.path


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before its weights are loaded.

    Attributes:
        n_blocks: Number of blocks.
        context: Longest sequence [tokens], or None where the model states no limit.
        revision: Commit on the Hub, or a hash of the files of a folder.
    """

    n_blocks: int
    context: int | None
    revision: str


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer.

    Attributes:
        stacks: The model, and copies of it on the other GPUs.
    """

    facts: ModelFacts
    stacks: tuple[BlockStack, ...]
    tokenizer: PreTrainedTokenizerBase
    dtype: str

    @property
    def stack(self) -> BlockStack:
        """The model as blocks, on the first device."""
        return self.stacks[0]


@lru_cache(maxsize=8)
def read_facts(config: ModelConfig) -> ModelFacts:
    """Returns the facts that need the model's configuration, but not its weights.

    Raises:
        DataError: The Hub does not answer or does not give the model.
        ConfigError: The path is neither a model folder nor a repository.
        UnsupportedModelError: The model is not a decoder.
    """
    if config.on_hub:
        require_hub("the model", "model=tiny_llama, or model=hub model.path=<folder> for a local copy")
    elif not (Path(config.source) / "config.json").is_file():
        raise ConfigError(
            f"The model folder {config.path} holds no config.json; give a folder that "
            "`save_pretrained` wrote, or a repository on the Hub."
        )
    with hub_errors(f"model {config.path}"):
        settings = read_settings(config)
        revision = (
            pinned_revision(config.path, config.revision, "config.json")
            if config.on_hub
            else digest_of_files(f for f in Path(config.source).iterdir() if f.suffix in (".safetensors", ".json"))
        )
    return facts_of(config, settings, revision)


def facts_of(config: ModelConfig, settings: PretrainedConfig, revision: str) -> ModelFacts:
    """Returns the facts that a model's configuration states.

    Raises:
        UnsupportedModelError: The model is not a decoder.
    """
    text = settings.get_text_config(decoder=True)
    n_blocks = getattr(text, "num_hidden_layers", None)
    if settings.is_encoder_decoder or not n_blocks:
        raise UnsupportedModelError(
            f"{config.path} is a {settings.model_type} model, not a decoder-only language model; "
            "only decoders have blocks that can be removed this way."
        )
    return ModelFacts(n_blocks, getattr(text, "max_position_embeddings", None), revision)


@lru_cache(maxsize=1)
def load_model(config: ModelConfig, device: str, dtype: str) -> LoadedModel:
    """Returns a model in memory; the last one is kept, since jobs of a sweep share it.

    Args:
        config: Which model.
        device: `cpu`, `cuda:<n>`, or `cuda` for all GPUs that are visible.
        dtype: Type of the weights.

    Raises:
        DataError: The Hub does not answer or does not give the model.
        UnsupportedModelError: The folder holds no safetensors weights, or the model's blocks
            cannot be run one by one.
    """
    facts = read_facts(config)
    if not sys.stderr.isatty():
        disable_progress_bar()
    with _readable(config, "weights", "; they must be safetensors of a decoder, for pickled ones can run code"):
        model: Any = AutoModelForCausalLM.from_pretrained(
            config.source,
            revision=config.revision or "main",
            dtype=dtype,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            device_map=config.device_map,
        )
    tokenizer = load_tokenizer(config)
    if config.device_map is not None:
        return LoadedModel(facts, (BlockStack(model),), tokenizer, dtype)
    first, *others = devices_of(device)
    stacks = (BlockStack(model.to(first)), *(BlockStack(copy.deepcopy(model).to(other)) for other in others))
    return LoadedModel(facts, stacks, tokenizer, dtype)


def devices_of(device: str) -> list[str]:
    """Returns the devices that `device` stands for: `cuda` is all GPUs that are visible."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device == "cuda" else [device]


@lru_cache(maxsize=8)
def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read.
    """
    with _readable(config, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            config.source, revision=config.revision or "main", trust_remote_code=config.trust_remote_code
        )
    return tokenizer


def resolve_device(device: str) -> str:
    """Returns `device`, with `auto` resolved to a GPU where there is one.

    Raises:
        ConfigError: The device does not exist.
    """
    resolved = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device '{device}' is not available on this machine; use device=auto or device=cpu."
        ) from error
    return resolved


def resolve_dtype(dtype: str, device: str) -> str:
    """Returns `dtype`, with `auto` resolved to bfloat16 on a GPU and float32 elsewhere.

    Raises:
        ConfigError: The type is not one of float32, bfloat16, float16, auto.
    """
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"The dtype '{dtype}' is not one of auto, float32, bfloat16, float16.")
    return dtype


def read_settings(config: ModelConfig) -> PretrainedConfig:
    """Returns a model's own configuration.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read, or runs code that was not allowed.
    """
    with _readable(config, "config.json"):
        settings: PretrainedConfig = AutoConfig.from_pretrained(
            config.source, revision=config.revision or "main", trust_remote_code=config.trust_remote_code
        )
    return settings


@contextmanager
def _readable(config: ModelConfig, part: str, remark: str = "") -> Iterator[None]:
    """Turns what transformers says of a part of a model that it cannot read into one sentence."""
    try:
        with hub_errors(f"model {config.path}"):
            yield
    except (OSError, ValueError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise UnsupportedModelError(
                f"The model {config.path} runs Python code from its repository; read that code, then allow it with "
                "model.trust_remote_code=true."
            ) from error
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UnsupportedModelError(f"The {part} of {config.path} cannot be loaded ({reason}){remark}.") from error
