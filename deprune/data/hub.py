"""Access to the Hub: is it there, and what do its errors mean for the user?"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deprune.core.errors import DataError, DepruneError, one_line

WAYS_OUT = (
    "connect this machine to the network, set HF_ENDPOINT to a mirror that it can reach, or set "
    "HF_HUB_OFFLINE=1 if an earlier run or deprune.prefetch has filled the local cache"
)

GATED = "it is gated; ask for access on its page, then set HF_TOKEN to a token of yours or run `hf auth login`"
UNKNOWN = "there is no such public repository at {endpoint}; check its name, or set HF_TOKEN if it is private"
SCRIPT = "it is a Python script, which `datasets` no longer runs; take another that holds its data in files"
LACKS_FILE = "its repository lacks a file that is needed ({text})"
REASONS = {
    "GatedRepoError": GATED,
    "RepositoryNotFoundError DatasetNotFoundError": UNKNOWN,
    "RevisionNotFoundError": "there is no such revision of it; check the name of the branch, tag or commit",
    "HFValidationError": "this is neither a folder nor the name of a repository (owner/name)",
    "EntryNotFoundError RemoteEntryNotFoundError DataFilesNotFoundError": LACKS_FILE,
    "LocalEntryNotFoundError OfflineModeIsEnabled ConnectError ConnectionError": f"{{offline}}; {WAYS_OUT}",
}
"""What the errors mean, by their names, since two libraries raise them, and httpx a third kind."""


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


def require_hub(wanted: str, alternative: str) -> None:
    """Raises a DataError where the Hub does not answer, before a library spends minutes on finding out.

    The message names what kind of thing is wanted (jobs that lack the same kind give the same message, which is then
    shown once), and overrides that need no Hub. Nothing is asked in offline mode.
    """
    from huggingface_hub import constants

    if not (constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT)):
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
        cause: BaseException | None = error
        while cause is not None:
            if reason := _reason(cause):
                raise DataError(f"The {wanted} cannot be had: {reason}.") from error
            cause = cause.__cause__ or cause.__context__
        raise


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
    """Returns what an error of the Hub's clients means, or None where it is not one of theirs."""
    from huggingface_hub import constants

    text, in_cache = str(error), "HF_HUB_OFFLINE is set and it is not in the local cache"
    by_kind = (reason for kinds, reason in REASONS.items() if type(error).__name__ in kinds.split())
    by_text = {"is a gated dataset": GATED, "Dataset scripts are no longer supported": SCRIPT}
    reason = next((reason for part, reason in by_text.items() if part in text), None) or next(by_kind, None)
    offline = in_cache if constants.HF_HUB_OFFLINE else "the connection to the Hub failed"
    return reason and reason.format(endpoint=constants.ENDPOINT, text=text.partition("\n")[0], offline=offline)


def pinned_revision(repository: str, revision: str | None, file: str) -> str:
    """Returns the commit that a revision of a model repository stands for, offline too."""
    from huggingface_hub import hf_hub_download

    parts = Path(hf_hub_download(repository, file, revision=revision)).parts
    return parts[parts.index("snapshots") + 1]
