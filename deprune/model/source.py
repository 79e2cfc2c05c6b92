"""Which model, and what is known of it before its weights are loaded; the libraries wait until they are needed."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, DepruneError, UnsupportedModelError, one_line
from deprune.core.files import write_atomically
from deprune.core.fingerprint import digest_of, digest_of_files, file_name_of
from deprune.data.hub import hub_errors, pinned_revision, require_hub
from deprune.model.folder import TOKENIZER, fault_of_settings, files_read, holds_vocabulary

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

EMBEDDED_PREFIX = "deprune:"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded" / "models"

MODELS = "models"
"""Folder below the results with what is known of models that jobs have used."""


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
        own_code: Whether code of the repository makes the model, which can be another one than without it.
    """

    n_blocks: int
    context: int | None
    revision: str
    own_code: bool = False


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
        if (Path(config.source) / "adapter_config.json").is_file():
            instead = "it is an adapter: merge it into its model, and give the folder of the whole"
        raise ConfigError(f"The model folder {config.path} holds no config.json; {instead}.")
    with hub_errors(f"model {config.path}"):
        if config.on_hub:
            revision = pinned_revision(config.path, config.revision, "config.json")
        else:
            revision = digest_of_files(files_read(Path(config.source), with_code=config.trust_remote_code))
        if config.path.startswith(EMBEDDED_PREFIX):  # whose configurations say all of it plainly
            settings = json.loads((Path(config.source) / "config.json").read_text(encoding="utf-8"))
            return ModelFacts(settings["num_hidden_layers"], settings["max_position_embeddings"], revision)
        known = None if kept_in is None else _kept_facts(kept_in / _facts_file(config, revision), revision)
        return known or facts_of(config, read_settings(config), revision)


def keep_facts(config: ModelConfig, facts: ModelFacts, folder: Path) -> None:
    """Leaves the facts of a model for commands that need no more of it, and then no library to read them."""
    file = folder / _facts_file(config, facts.revision)
    if not file.is_file():
        content = {name: value for name, value in asdict(facts).items() if name != "revision"}
        write_atomically(file, json.dumps(content) + "\n")


def _facts_file(config: ModelConfig, revision: str) -> str:
    """Returns the name of a file for one content, as one version of transformers reads it."""
    read_by = [config.trust_remote_code, importlib.metadata.version("transformers")]
    return f"{file_name_of(config.label)}-{digest_of([revision, *read_by])}.json"


def _kept_facts(file: Path, revision: str) -> ModelFacts | None:
    """Returns the facts in a file; None where it is missing or damaged, since they can be read again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        n_blocks, context, own_code = content["n_blocks"], content["context"], content["own_code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_whole = isinstance(n_blocks, int) and isinstance(context, int | None) and n_blocks > 0
    return ModelFacts(n_blocks, context, revision, own_code is True) if is_whole else None


def facts_of(config: ModelConfig, settings: PretrainedConfig, revision: str) -> ModelFacts:
    """Returns the facts of the model that a configuration describes, with the depth that its modules have.

    Raises:
        UnsupportedModelError: It is no decoder, cannot be built, or has no blocks.
    """
    check_settings(config, settings)
    from deprune.model.context import context_of
    from deprune.model.structure import find_blocks, skeleton

    with told(config, "model that the config.json of {} describes", "built"):
        model = skeleton(settings, trust_remote_code=config.trust_remote_code)
    context = context_of(settings.get_text_config(decoder=True), model)
    return ModelFacts(len(find_blocks(model)), context, revision, _has_own_code(config, settings))


def check_settings(config: ModelConfig, settings: PretrainedConfig) -> None:
    """Raises an UnsupportedModelError where a configuration describes no decoder, or one that cannot be read here."""
    from transformers import AutoModelForCausalLM
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    n_blocks = getattr(settings.get_text_config(decoder=True), "num_hidden_layers", None)
    if n_blocks is not None and n_blocks < 1:
        depth = f"The config.json of {config.path} says {n_blocks} blocks (num_hidden_layers)"
        raise UnsupportedModelError(f"{depth}; take a configuration that belongs to the weights.")
    if settings.is_encoder_decoder:
        kind = f"a {settings.model_type} model, not a decoder-only language model"
        raise UnsupportedModelError(f"{config.path} is {kind}; only decoders have blocks that can be removed this way.")
    if not _has_own_code(config, settings) and type(settings) not in AutoModelForCausalLM._model_mapping:
        kind = f"a {settings.model_type} model, which transformers does not load as a language model by itself"
        raise UnsupportedModelError(f"{config.path} is {kind}; take a decoder-only language model.")
    method = quantisation_of(settings)
    if method is not None and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        unknown = f"The config.json of {config.path} says that its weights are quantised by '{method}'"
        raise UnsupportedModelError(f"{unknown}, which transformers does not know; take the unquantised repository.")


def _has_own_code(config: ModelConfig, settings: PretrainedConfig) -> bool:
    return config.trust_remote_code and "AutoModelForCausalLM" in (getattr(settings, "auto_map", None) or {})


def quantisation_of(settings: PretrainedConfig) -> str | None:
    """Returns the name of the method by which a model's weights are quantised, as transformers has it, or None."""
    said = getattr(settings, "quantization_config", None)
    if not isinstance(said, dict):
        return None
    bits = "_4bit" if said.get("load_in_4bit") else "_8bit" if said.get("load_in_8bit") else ""
    return f"bitsandbytes{bits}" if bits else str(said.get("quant_method", "unknown"))


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a model.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be read, or there is none: transformers would go on with an empty one.
    """
    from transformers import AutoTokenizer

    lacks = f"{config.path} holds no tokenizer (no tokenizer.json, nor another file of its tokens)"
    lacks += "; copy that of the model that it was made from"
    try:
        tokenizer: PreTrainedTokenizerBase = read_part(AutoTokenizer, config, "tokenizer of {}", TOKENIZER)
    except UnsupportedModelError as error:
        if holds_vocabulary(folder_of(config)):
            raise
        raise UnsupportedModelError(f"{lacks}.") from error
    if not {*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids}:
        raise UnsupportedModelError(f"{lacks}.")
    return tokenizer


def folder_of(config: ModelConfig) -> Path:
    """Returns the folder with a model's files: its own, or that of the local cache, once its config.json was read."""
    if not config.on_hub:
        return Path(config.source)
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(config.path, "config.json", revision=config.revision)).parent


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
    code = {"own_code": True} if facts.own_code else {}
    return {"name": config.label, "revision": facts.revision, "dtype": dtype} | code


def read_settings(config: ModelConfig) -> PretrainedConfig:
    """Returns a model's own configuration; raises what `read_part` does."""
    from transformers import AutoConfig

    settings: PretrainedConfig = read_part(AutoConfig, config, "config.json of {}", ["config.json"])
    return settings


def read_part(reader: Any, config: ModelConfig, part: str, files: Sequence[str] = (), **settings: Any) -> Any:
    """Returns a part of a model; `part` is what it is called, with `{}` for the model. Raises what `told` does."""
    settings |= {"revision": config.revision or "main", "trust_remote_code": config.trust_remote_code}
    with told(config, part, "loaded", files):
        return reader.from_pretrained(config.source, **settings)


@contextmanager
def told(config: ModelConfig, part: str, verb: str, files: Sequence[str] = ()) -> Iterator[None]:
    """Turns what libraries say of a part of a model that they cannot use into one sentence with the whole reason.

    Where it is one of the files of settings that the part is read from, it is named.

    Raises:
        DataError: The Hub does not give it.
        UnsupportedModelError: It cannot be used, or runs code that was not allowed.
    """
    try:
        with hub_errors(f"model {config.path}"):
            yield
    except DepruneError:
        raise
    except Exception as error:  # whatever libraries, and a repository's own code, find wrong with its files
        if "trust_remote_code" in str(error):
            runs = f"The model {config.path} runs Python code from its repository"
            allow = "read that code, then allow it with model.trust_remote_code=true"
            raise UnsupportedModelError(f"{runs}; {allow}.") from error
        fault = None if config.on_hub else fault_of_settings(Path(config.source), files)
        reason = fault or _plainly(error)
        raise UnsupportedModelError(f"The {part.format(config.path)} cannot be {verb} ({reason}).") from error


def _plainly(error: Exception) -> str:
    """Returns the reason of an error; in short where transformers adds advice that does not help."""
    if type(error).__name__ == "AmbiguousGlobalPerLayerAttributeError":
        return "its settings of single blocks, per_layer_config, are not supported by this type of model"
    if found := re.search(r"has model type `(.*?)` but Transformers does not recognize", str(error)):
        return f"transformers {importlib.metadata.version('transformers')} knows no type '{found[1]}'"
    if "automatic conversion of the weights" in str(error):  # and the report that it refers to is not printed
        return "those that belong together, such as experts, do not fit each other: one is missing or of another shape"
    return one_line(error)
