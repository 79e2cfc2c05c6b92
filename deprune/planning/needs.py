"""What jobs need from the Hub: which files, how large, and how the jobs themselves would fetch them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from deprune.core.errors import DataError, UnsupportedModelError
from deprune.data.hub import DataSet, hub_errors, require_hub
from deprune.model.source import ModelConfig, load_tokenizer, read_facts
from deprune.run.config import RunConfig

SETTINGS = ("*.json", "*.txt", "*.jinja", "tokenizer.model")
"""Files of a model's repository beside its weights: configuration, vocabulary, templates."""

Fetch = tuple[Callable[..., object], tuple[Any, ...]]
"""A call that reads data, as a function and its arguments, so that it can be told from others."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        size: Its size [byte].
        is_here: Whether the local cache holds it.
    """

    path: str
    size: int
    is_here: bool


@dataclass(frozen=True)
class Need:
    """Something of the Hub that jobs need.

    Attributes:
        name: What it is, for people.
        files: Its files.
        fetch: Loads it as a job does, which fills the local cache.
    """

    name: str
    files: tuple[HubFile, ...]
    fetch: Callable[[], object]

    @property
    def size(self) -> int:
        """Size of its files [byte]."""
        return sum(file.size for file in self.files)

    @property
    def size_here(self) -> int:
        """Size of those of its files that the local cache holds [byte]."""
        return sum(file.size for file in self.files if file.is_here)


def needs_of(configs: Iterable[RunConfig]) -> list[Need]:
    """Returns what jobs need, each thing once, models first.

    Raises:
        DataError: The Hub does not answer, or does not have it.
        UnsupportedModelError: A model has no weights that jobs would load.
    """
    models: dict[ModelConfig, None] = {}
    wanted: dict[DataSet, dict[Fetch, None]] = {}
    for config in configs:
        if config.model.on_hub:
            models[config.model] = None
        for data, fetch in _data(config):
            wanted.setdefault(data, {})[fetch] = None
    if models or wanted:
        _require_network()
    return [*map(_model, models), *(_data_set(data, list(fetches)) for data, fetches in wanted.items())]


def _require_network() -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise DataError("HF_HUB_OFFLINE is set, and nothing can be fetched without the Hub; unset it and try again.")
    require_hub("what is to be fetched", "embedded models, corpora and tasks")


def _data(config: RunConfig) -> Iterator[tuple[DataSet, Fetch]]:
    """Yields each data set of a job with the call that reads it."""
    corpus = config.calib.corpus
    for data in corpus.data_sets():
        yield data, (type(corpus).items if config.objective.needs_items else type(corpus).documents, (corpus,))
    for scorer in config.eval.scorers.values():
        for data, subjects in scorer.data_sets().items():
            yield from ((data, (type(scorer).fetch, (scorer, subject))) for subject in subjects)


def _model(config: ModelConfig) -> Need:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    with hub_errors(f"model {config.path}"):
        tree = HfApi().list_repo_tree(config.path, revision=config.revision)
        sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    patterns = [*SETTINGS, *(["*.py"] if config.trust_remote_code else [])]
    names = [path for path in sizes if any(fnmatch(path, p) for p in patterns)] + weights_of(config, list(sizes))

    def fetch() -> None:
        with hub_errors(f"model {config.path}"):
            snapshot_download(config.path, revision=config.revision, allow_patterns=names)
        read_facts(config)
        load_tokenizer(config)

    revision = config.revision or "main"
    files = tuple(HubFile(n, sizes[n], _is_here(config.path, n, revision, "model")) for n in names)
    return Need(f"model {config.path}", files, fetch)


def weights_of(config: ModelConfig, paths: list[str]) -> list[str]:
    """Returns the weights that transformers would take: one file of safetensors, or its parts."""
    whole = [path for path in paths if path == "model.safetensors"]
    weights = whole or [path for path in paths if re.fullmatch(r"model-\d+-of-\d+\.safetensors", path)]
    if not weights:
        raise UnsupportedModelError(
            f"The repository {config.path} holds no safetensors weights (pickled ones can run code and are refused); "
            "take a model that has them."
        )
    return weights


def _data_set(data: DataSet, fetches: list[Fetch]) -> Need:
    def fetch() -> None:
        for function, arguments in fetches:
            function(*arguments)

    name = " ".join(filter(None, ("data set", data.path, data.config, data.file)))
    return Need(name, _files(data), fetch)


def _files(data: DataSet) -> tuple[HubFile, ...]:
    """Returns the files that jobs download: one, or with `datasets` those of all splits."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with hub_errors(f"data set {data.path}"):
        places = {(data.path, data.revision or "main", data.file)} if data.file else set(_places(data))
        entries = [
            (place, entry)
            for place in sorted(places)
            for entry in HfApi().get_paths_info(place[0], [place[2]], repo_type="dataset", revision=place[1])
            if isinstance(entry, RepoFile)
        ]
    return tuple(
        HubFile(path, entry.size, _is_here(repository, path, revision, "dataset"))
        for (repository, revision, path), entry in entries
    )


def _places(data: DataSet) -> Iterator[tuple[str, str, str]]:
    """Yields repository, commit and path of each file, as `datasets` finds them."""
    from datasets import load_dataset_builder

    builder = load_dataset_builder(data.path, data.config, revision=data.revision)
    for urls in (builder.config.data_files or {}).values():
        for url in map(str, urls):
            if match := re.fullmatch(r"hf://datasets/(.+?)@(\w+)/(.+)", url):
                yield match[1], match[2], match[3]


def _is_here(repository: str, path: str, revision: str, kind: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, path, revision=revision, repo_type=kind), str)
