"""Which model, and what is known of it before its weights are loaded; the libraries wait until they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.fingerprint import digest_of_files
from deprune.data.hub import hub_errors, pinned_revision, require_hub

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

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


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read.
    """
    from transformers import AutoTokenizer

    with readable(config, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            config.source, revision=config.revision or "main", trust_remote_code=config.trust_remote_code
        )
    return tokenizer


def resolve_device(device: str) -> str:
    """Returns `device`, with `auto` resolved to a GPU where there is one.

    Raises:
        ConfigError: The device does not exist.
    """
    import torch

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


def model_identity(config: ModelConfig, facts: ModelFacts, dtype: str) -> dict[str, Any]:
    """Returns what a run and its scores are a function of, as far as the model is concerned and wherever it runs."""
    return {"name": config.label, "revision": facts.revision, "dtype": dtype}


def read_settings(config: ModelConfig) -> PretrainedConfig:
    """Returns a model's own configuration.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read, or runs code that was not allowed.
    """
    from transformers import AutoConfig

    with readable(config, "config.json"):
        settings: PretrainedConfig = AutoConfig.from_pretrained(
            config.source, revision=config.revision or "main", trust_remote_code=config.trust_remote_code
        )
    return settings


@contextmanager
def readable(config: ModelConfig, part: str, remark: str = "") -> Iterator[None]:
    """Turns what transformers says of a part of a model that it cannot read into one sentence."""
    from safetensors import SafetensorError

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
