"""Access to the Hub: is it there, and what do its errors mean for the user?"""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deprune.core.errors import DataError, DepruneError, one_line

WAYS_OUT = (
    "connect this machine to the network, set HF_ENDPOINT to a mirror that it can reach, or set "
    "HF_HUB_OFFLINE=1 if an earlier run or deprune.prefetch has filled the local cache"
)
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
"""Variables that keep the Hub's clients from asking it; the last one speaks for data sets alone."""

GATED = "it is gated; ask for access on its page, then set HF_TOKEN to a token of yours or run `hf auth login`"
UNKNOWN = "there is no such public repository at {endpoint}; check its name, or set HF_TOKEN if it is private"
SCRIPT = "it is a Python script, which `datasets` no longer runs; take another that holds its data in files"
LACKS_FILE = "its repository lacks a file that is needed ({text})"
LATER = "try again later, or fetch it once with deprune.prefetch and set HF_HUB_OFFLINE=1"
BY_NAME = {
    "GatedRepoError": GATED,
    "RepositoryNotFoundError DatasetNotFoundError": UNKNOWN,
    "RevisionNotFoundError": "there is no such revision of it; check the name of the branch, tag or commit",
    "HFValidationError": "this is neither a folder nor the name of a repository (owner/name)",
    "EntryNotFoundError RemoteEntryNotFoundError DataFilesNotFoundError": LACKS_FILE,
    "DisabledRepoError": "the Hub has disabled its repository; take another",
}
"""What the errors mean, by their names, since two libraries raise them, and httpx a third kind."""

BY_STATUS = {
    401: "the Hub does not accept the token that it was sent (401); set HF_TOKEN to a valid one, or log out of it",
    403: "the Hub does not allow it with this token, or with none (403); set HF_TOKEN to one that may read it",
    429: f"the Hub refuses further requests for now (429); set HF_TOKEN, which allows more of them, {LATER}",
    451: "the Hub may not give it for legal reasons (451); take another",
}
"""What the Hub's answers mean, beside those of 500 and above, with which it fails by itself."""

BY_TEXT = {
    "is a gated dataset": GATED,
    "Dataset scripts are no longer supported": SCRIPT,
    r"Config name is missing\.\n.*?: \[(.*?)\]": "it has the configurations {0}, and none was named; name one, as in "
    "calib.config=<name>",
    r"BuilderConfig '(.*?)' not found\. Available: \[(.*?)\]": "it has no configuration '{0}'; it has {1}",
    r'Unknown split "(.*?)"\. Should be one of \[(.*?)\]': "it has no split '{0}'; it has {1}",
    r"(?s)^(?:Illegal header value|'ascii' codec can't encode)": "HF_TOKEN holds signs that no token has; set it anew",
}
"""What other errors mean, by what their texts match."""

NOT_CACHED = {
    r"Couldn't find cache for .* for config '(.*?)'": ", in its configuration '{0}'",
    "Couldn't find cache for": "",
    r"^Revision (.*) is not in the cache$": ", in its revision {0}",
}
"""What is not here, of something that may be here otherwise, by what the texts of errors match."""

UNREACHABLE = "LocalEntryNotFoundError OfflineModeIsEnabled TransportError ConnectionError"
"""Errors that say no more than that there was no answer, unless what they come from says more."""

NO_ROOM = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set on the Hub, as `datasets.load_dataset` is asked for it.

    Attributes:
        path: The repository, `owner/name`.
        config: Its configuration, where it has several.
        revision: Branch, tag or commit; by default the newest.
        file: A file of the repository to read instead of all of them.
    """

    path: str
    config: str | None = None
    revision: str | None = None
    file: str | None = None


def rows_of(data: DataSet, split: str) -> Any:
    """Returns the rows of a data set as a `datasets.Dataset`; without a network, those that the Hub would give.

    Left to itself, `datasets` would then take the configuration and the revision that were used last.

    Raises:
        LookupError: The revision is not here. Whatever `datasets` raises comes as it is; `data_errors` speaks of both.
    """
    from datasets import config, load_dataset, load_dataset_builder

    if not config.HF_HUB_OFFLINE:
        return load_dataset(data.path, data.config, split=split, revision=data.revision)
    commit = _cached_commit(data)
    builder = load_dataset_builder(data.path, data.config or _default_configuration(data, commit))
    if commit is None or builder.hash == commit:
        return builder.as_dataset(split=split)
    if not Path(builder.cache_dir).with_name(commit).is_dir():
        raise LookupError(f"Revision {data.revision or commit} is not in the cache")
    here = {"dataset_name": builder.dataset_name, "version": str(builder.config.version), "hash": commit}
    return type(builder)(repo_id=data.path, config_name=builder.config.name, **here).as_dataset(split=split)


def _cached_commit(data: DataSet) -> str | None:
    """Returns the commit that a revision stood for when it was fetched; None where that was not kept."""
    from huggingface_hub import constants, file_download

    revision = data.revision or "main"
    folder = file_download.repo_folder_name(repo_id=data.path, repo_type="dataset")
    ref = Path(constants.HF_HUB_CACHE, folder, "refs", revision)
    if ref.is_file():
        return ref.read_text(encoding="utf-8").strip()
    if data.revision and not re.fullmatch("[0-9a-f]{40}", revision):
        raise LookupError(f"Revision {revision} is not in the cache")
    return data.revision


def _default_configuration(data: DataSet, commit: str | None) -> str | None:
    """Returns the configuration that a data set's own card makes the default; None where it has but one."""
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    card = try_to_load_from_cache(data.path, "README.md", repo_type="dataset", revision=commit or "main")
    if not isinstance(card, str):
        return None
    configurations = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data)
    default = configurations.get_default_config_name()
    if default is None and len(configurations) > 1:
        names = ", ".join(f"'{name}'" for name in configurations)
        raise ValueError(f"Config name is missing.\nPlease pick one among the available configs: [{names}]")
    return default or next(iter(configurations), None)


def require_hub(wanted: str, alternative: str) -> None:
    """Raises a DataError where the Hub does not answer, before a library spends minutes on finding out.

    The message names what kind of thing is wanted (jobs that lack the same kind give the same message, which is then
    shown once), and overrides that need no Hub. Nothing is asked in offline mode.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    if not re.match("https?://", constants.ENDPOINT):
        raise DataError(f"HF_ENDPOINT, '{constants.ENDPOINT}', is no address; begin it with https://.")
    if not _answers(constants.ENDPOINT):
        silent = f"The Hub at {constants.ENDPOINT} does not answer, and {wanted} must come from it"
        raise DataError(f"{silent}: {WAYS_OUT}, or use {alternative}.")


@cache
def _answers(endpoint: str) -> bool:
    """Tries three times; any answer counts, an error page too, for the clients retry those."""
    import httpx

    for pause in (0.5, 1.5, 0):
        try:
            httpx.head(endpoint, timeout=8)
            return True
        except httpx.HTTPError:
            time.sleep(pause)
    return False


@contextmanager
def hub_errors(wanted: str) -> Iterator[None]:
    """Turns the errors of the Hub's clients into a DataError, one sentence about what was wanted."""
    try:
        yield
    except Exception as error:
        chain = list(_chain(error))
        reason = next(filter(None, map(_reason, chain)), None) or next(filter(None, map(_no_answer, chain)), None)
        if reason is None:
            raise
        raise DataError(f"The {wanted} cannot be had: {reason}.") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def data_errors(wanted: str) -> Iterator[None]:
    """Turns whatever reading data from the Hub may raise into a DepruneError, one sentence with the whole reason."""
    try:
        with hub_errors(wanted):
            yield
    except DepruneError:
        raise
    except Exception as error:
        raise DataError(f"The {wanted} cannot be read: {one_line(error.__cause__ or error)}.") from error


def refuse_scripts(data_sets: Iterable[DataSet]) -> None:
    """Raises a DataError where a data set is a Python script, as far as a Hub is there to ask; downloads nothing."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT):
        return
    for data in data_sets:
        script, is_there = data.path.rpartition("/")[2] + ".py", False
        with suppress(Exception):  # what else is wrong with it shows when it is read
            is_there = HfApi().file_exists(data.path, script, repo_type="dataset", revision=data.revision)
        if is_there:
            raise DataError(f"The data set {data.path} cannot be had: {SCRIPT}.")


def _reason(error: BaseException) -> str | None:
    """Returns what an error of the Hub's clients means; None where it is not one of theirs, or says nothing."""
    from huggingface_hub import constants

    text, status = str(error), getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, OSError) and error.errno in NO_ROOM and _is_cache(error.filename):
        place = f"the local cache HF_HOME={constants.HF_HOME} cannot be written ({error.strerror})"
        return f"{place}; make it writable, make room in it, or set HF_HOME to another folder"
    for pattern, reason in BY_TEXT.items():
        if found := re.search(pattern, text):
            return reason.format(*(group.replace("'", "") for group in found.groups()))
    for pattern, part in NOT_CACHED.items():
        if found := re.search(pattern, text):
            return _offline(part.format(*found.groups()))
    for names, reason in BY_NAME.items():
        if type(error).__name__ in names.split():
            return reason.format(endpoint=constants.ENDPOINT, text=text.partition("\n")[0])
    if status >= 500:
        return f"the Hub fails for now ({status}); {LATER}"
    return BY_STATUS.get(status) or (f"the Hub answers {status}; {LATER}" if status >= 400 else None)


def _no_answer(error: BaseException) -> str | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    return _offline() if names & {*UNREACHABLE.split()} else None


def _offline(part: str = "") -> str:
    """Returns why the Hub did not give something, or a part of it, that is not here."""
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return (
                f"{name} is set and it is not in the local cache{part}; fetch it with deprune.prefetch, or unset that"
            )
    return f"the connection to the Hub failed; {WAYS_OUT}"


def _is_cache(path: Any) -> bool:
    """Whether a file lies where the Hub's clients keep theirs; so does one without a name on a full disk."""
    from datasets import config
    from huggingface_hub import constants

    caches = (constants.HF_HOME, constants.HF_HUB_CACHE, config.HF_DATASETS_CACHE)
    return path is None or any(Path(str(path)).is_relative_to(cache) for cache in caches)


def pinned_revision(repository: str, revision: str | None, file: str) -> str:
    """Returns the commit that a revision of a model repository stands for, offline too."""
    from huggingface_hub import hf_hub_download

    parts = Path(hf_hub_download(repository, file, revision=revision)).parts
    return parts[parts.index("snapshots") + 1]
