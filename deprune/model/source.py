"""Which model, and what is known of it before its weights are loaded; the libraries wait until they are needed."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import digest_of, digest_of_files, file_name_of
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


def read_facts(config: ModelConfig, kept_in: Path | None = None) -> ModelFacts:
    """Returns the facts that need a model's configuration but no weights, where kept as `keep_facts` left them.

    Raises:
        DataError: The Hub does not answer or does not give the model.
        ConfigError: The path is neither a model folder nor a repository.
        UnsupportedModelError: The model is not a decoder.
    """
    if config.on_hub:
        require_hub("the model", "model=tiny_llama, or model=hub model.path=<folder> for a local copy")
    elif not (Path(config.source) / "config.json").is_file():
        instead = "give a folder that `save_pretrained` wrote, or a repository on the Hub"
        raise ConfigError(f"The model folder {config.path} holds no config.json; {instead}.")
    with hub_errors(f"model {config.path}"):
        if config.on_hub:
            revision = pinned_revision(config.path, config.revision, "config.json")
        else:
            files = Path(config.source).iterdir()
            revision = digest_of_files(f for f in files if f.suffix in (".safetensors", ".json"))
        if config.path.startswith(EMBEDDED_PREFIX):  # whose configurations say all of it plainly
            settings = json.loads((Path(config.source) / "config.json").read_text(encoding="utf-8"))
            return ModelFacts(settings["num_hidden_layers"], settings["max_position_embeddings"], revision)
        known = None if kept_in is None else _kept_facts(kept_in / _facts_file(config, revision), revision)
        return known or facts_of(config, read_settings(config), revision)


def keep_facts(config: ModelConfig, facts: ModelFacts, folder: Path) -> None:
    """Leaves the facts of a model for commands that need no more of it, and then no library to read them."""
    file = folder / _facts_file(config, facts.revision)
    if not file.is_file():
        write_atomically(file, json.dumps({"n_blocks": facts.n_blocks, "context": facts.context}) + "\n")


def _facts_file(config: ModelConfig, revision: str) -> str:
    """Returns the name of a file for one content, as one version of transformers reads it."""
    read_by = [config.trust_remote_code, importlib.metadata.version("transformers")]
    return f"{file_name_of(config.label)}-{digest_of([revision, *read_by])}.json"


def _kept_facts(file: Path, revision: str) -> ModelFacts | None:
    """Returns the facts in a file; None where it is missing or damaged, since they can be read again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        n_blocks, context = content["n_blocks"], content["context"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_whole = isinstance(n_blocks, int) and isinstance(context, int | None) and n_blocks > 0
    return ModelFacts(n_blocks, context, revision) if is_whole else None


def facts_of(config: ModelConfig, settings: PretrainedConfig, revision: str) -> ModelFacts:
    """Returns the facts that a model's configuration states; raises an UnsupportedModelError where it is no decoder."""
    text = settings.get_text_config(decoder=True)
    n_blocks = getattr(text, "num_hidden_layers", None)
    if settings.is_encoder_decoder or not n_blocks:
        kind = f"a {settings.model_type} model, not a decoder-only language model"
        raise UnsupportedModelError(f"{config.path} is {kind}; only decoders have blocks that can be removed this way.")
    return ModelFacts(n_blocks, getattr(text, "max_position_embeddings", None), revision)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model; raises what `read_part` does."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = read_part(AutoTokenizer, config, "tokenizer")
    return tokenizer


def resolve_device(device: str) -> str:
    """Returns `device`, with `auto` resolved to a GPU where there is one; raises a ConfigError where it is missing."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    resolved = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        missing = f"The device '{device}' is not available on this machine"
        raise ConfigError(f"{missing}; use device=auto or device=cpu.") from error
    return resolved


def _may_have_gpu() -> bool:
    """Whether there is a driver of a GPU; where there is none, torch need not be asked, which takes a second."""
    try:
        return sys.platform != "linux" or Path("/dev/kfd").exists() or bool(ctypes.CDLL("libcuda.so.1"))
    except OSError:
        return False


def resolve_dtype(dtype: str, device: str) -> str:
    """Returns `dtype`, with `auto` resolved to bfloat16 on a GPU, else float32; raises a ConfigError on other words."""
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"The dtype '{dtype}' is not one of auto, float32, bfloat16, float16.")
    return dtype


def model_identity(config: ModelConfig, facts: ModelFacts, dtype: str) -> dict[str, Any]:
    """Returns what a run and its scores are a function of, as far as the model is concerned and wherever it runs."""
    return {"name": config.label, "revision": facts.revision, "dtype": dtype}


def read_settings(config: ModelConfig) -> PretrainedConfig:
    """Returns a model's own configuration; raises what `read_part` does."""
    from transformers import AutoConfig

    settings: PretrainedConfig = read_part(AutoConfig, config, "config.json")
    return settings


def read_part(reader: Any, config: ModelConfig, part: str, remark: str = "", **settings: Any) -> Any:
    """Returns a part of a model, or turns what transformers says of one that it cannot read into one sentence.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read, or runs code that was not allowed.
    """
    from safetensors import SafetensorError

    settings |= {"revision": config.revision or "main", "trust_remote_code": config.trust_remote_code}
    try:
        with hub_errors(f"model {config.path}"):
            return reader.from_pretrained(config.source, **settings)
    except (OSError, ValueError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            runs = f"The model {config.path} runs Python code from its repository"
            allow = "read that code, then allow it with model.trust_remote_code=true"
            raise UnsupportedModelError(f"{runs}; {allow}.") from error
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UnsupportedModelError(f"The {part} of {config.path} cannot be loaded ({reason}){remark}.") from error
