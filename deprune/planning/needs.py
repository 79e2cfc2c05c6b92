"""What jobs need from the Hub: which files, how large, and how the jobs themselves would fetch them."""

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from deprune.core.errors import DataError, UnsupportedModelError
from deprune.data.hub import DataSet, hub_errors, require_hub
from deprune.downstream.base import Read
from deprune.model.folder import INDEX, TOKENIZER, WHOLE, parts_of
from deprune.model.source import ModelConfig, load_tokenizer, read_facts
from deprune.run.config import RunConfig

SETTINGS = ("*.json", "*.txt", *TOKENIZER)
"""Files of a model's repository beside its weights: configuration, vocabulary, templates."""

Place = tuple[str, str, str]
"""Repository, commit or branch, and path of a file."""


@dataclass(frozen=True)
class Need:
    """Something of the Hub that jobs need.

    Attributes:
        name: What it is, for people.
        kind: `model` or `dataset`, as the Hub has it.
        files: Size of each of its files [byte].
        fetch: Loads it as a job does, which fills the local cache.
    """

    name: str
    kind: str
    files: Mapping[Place, int]
    fetch: Callable[[], object]

    @property
    def size(self) -> int:
        """Size of all files [byte]."""
        return sum(self.files.values())

    @property
    def size_here(self) -> int:
        """Size of those that the local cache holds [byte]."""
        from huggingface_hub import try_to_load_from_cache

        def is_here(repository: str, revision: str, path: str) -> bool:
            return isinstance(try_to_load_from_cache(repository, path, revision=revision, repo_type=self.kind), str)

        return sum(size for place, size in self.files.items() if is_here(*place))


def needs_of(configs: Sequence[RunConfig]) -> list[Need]:
    """Returns what jobs need, each thing once, models first.

    Raises:
        DataError: The Hub does not answer, or does not have it.
        UnsupportedModelError: A model has no weights that jobs would load.
    """
    from huggingface_hub import constants

    models = dict.fromkeys(config.model for config in configs if config.model.on_hub)
    wanted: defaultdict[DataSet, list[Read]] = defaultdict(list)
    for data, read in dict.fromkeys(pair for config in configs for pair in _data(config)):
        wanted[data].append(read)
    if models or wanted:
        if constants.HF_HUB_OFFLINE:
            unset = "unset it and try again"
            raise DataError(f"HF_HUB_OFFLINE is set, and nothing can be fetched without the Hub; {unset}.")
        require_hub("what is to be fetched", "embedded models, corpora and tasks")
    return [*map(_model, models), *itertools.starmap(_data_set, wanted.items())]


def _data(config: RunConfig) -> Iterator[tuple[DataSet, Read]]:
    """Yields each data set of a job with the call that reads it."""
    corpus = config.calib.corpus
    for data in corpus.data_sets():
        yield data, (type(corpus).items if config.objective.needs_items else type(corpus).documents, corpus)
    for scorer in config.eval.scorers.values():
        yield from scorer.data_sets()


def _model(config: ModelConfig) -> Need:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    with hub_errors(f"model {config.path}"):
        tree = HfApi().list_repo_tree(config.path, revision=config.revision, recursive=True)
        sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    patterns = (*SETTINGS, "*.py") if config.trust_remote_code else SETTINGS
    names = [path for path in sizes if "/" not in path and any(fnmatch(path, p) for p in patterns)]
    names += weights_of(config, sizes)

    def fetch() -> None:
        with hub_errors(f"model {config.path}"):
            snapshot_download(config.path, revision=config.revision, allow_patterns=names)
        read_facts(config)
        load_tokenizer(config)

    files = {(config.path, config.revision or "main", name): sizes[name] for name in names}
    return Need(f"model {config.path}", "model", files, fetch)


def weights_of(config: ModelConfig, paths: Collection[str]) -> list[str]:
    """Returns the weights that transformers would take: one file of safetensors, or those that the index names."""
    if WHOLE in paths:
        return [WHOLE]
    if INDEX not in paths:
        lacks = "holds no safetensors weights (pickled ones can run code and are refused)"
        raise UnsupportedModelError(f"The repository {config.path} {lacks}; take a model that has them.")
    from huggingface_hub import hf_hub_download

    with hub_errors(f"model {config.path}"):
        parts = parts_of(Path(hf_hub_download(config.path, INDEX, revision=config.revision)).read_bytes())
    if lost := [name for name in parts if name not in paths]:
        lacks = f"names {len(lost)} of {len(parts)} files that it lacks ({lost[0]}{', …' * bool(lost[1:])})"
        raise UnsupportedModelError(f"{INDEX} of the repository {config.path} {lacks}; take a whole model.")
    return parts


def _data_set(data: DataSet, reads: list[Read]) -> Need:
    """Returns the need of the files that jobs download: one, or with `datasets` those of all splits."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with hub_errors(f"data set {data.path}"):
        files = {
            (repository, revision, path): entry.size
            for repository, revision, path in sorted({*_places(data)})
            for entry in HfApi().get_paths_info(repository, [path], repo_type="dataset", revision=revision)
            if isinstance(entry, RepoFile)
        }
    name = " ".join(filter(None, ("data set", data.path, data.config, data.file)))
    return Need(name, "dataset", files, lambda: [function(argument) for function, argument in reads])


def _places(data: DataSet) -> Iterator[Place]:
    """Yields each file; where none is named, as `datasets` finds them."""
    if data.file:
        yield data.path, data.revision or "main", data.file
        return
    from datasets import load_dataset_builder

    builder = load_dataset_builder(data.path, data.config, revision=data.revision)
    for urls in (builder.config.data_files or {}).values():
        for url in map(str, urls):
            if match := re.fullmatch(r"hf://datasets/(.+?)@(\w+)/(.+)", url):
                yield match[1], match[2], match[3]
