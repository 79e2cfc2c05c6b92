"""What every command shares: the configuration's folder and errors in one sentence."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from textwrap import shorten
from typing import Any, TextIO

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from deprune.core.build import CONF_DIR
from deprune.core.errors import DepruneError, one_line
from deprune.core.interruption import Interrupted, interruptible
from deprune.core.redaction import redact
from deprune.run.overrides import as_typed, explain_override
from deprune.run.workers import missing_launcher

TRACEBACKS = "DEPRUNE_TRACEBACKS"
"""Environment variable that hands the user's HYDRA_FULL_ERROR on to the jobs' processes."""


QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",  # whose lines on every attempt come twice
    "DATASETS_VERBOSITY": "critical",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables that keep libraries from talking beside the errors that they raise."""

LONGEST = 600
"""Characters of a library's own words on an error."""


def wants_tracebacks() -> bool:
    """Whether the user asked for tracebacks with HYDRA_FULL_ERROR=1."""
    return os.environ.get(TRACEBACKS) == "1"


class Outlet:
    """A text stream whose reader may leave, as `head` does, or whose disk is full: the rest goes nowhere.

    Whether work was done does not depend on whether what is said of it can be written, in whatever alphabet.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, signs that the stream's encoding lacks as escapes; or lets it be where nothing can be written."""
        encoding = self._stream.encoding or "utf-8"
        self._try(lambda: self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        """Flushes, or lets it be where nothing can be written."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError:  # what is still in a buffer is written at the latest when the process ends: nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _outlets() -> Iterator[None]:
    """Makes an `Outlet` of what the process prints to; what was closed at the start leads nowhere.

    Left closed, its number would be given to the next file that is opened, and prints would go into that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    nowhere = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    with redirect_stdout(Outlet(sys.stdout or nowhere)), redirect_stderr(Outlet(sys.stderr or nowhere)):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Prints the errors of a command as one sentence and exits with 1, or with 128 + n at signal n; no traceback.

    The exit code is that of the work: a pipe that nobody reads to its end changes nothing.

    Hydra would print a traceback of its own and exit. Asked for full errors it raises them,
    so that is what it is told, and what the user asked for is kept in another variable.
    """
    os.environ.setdefault(TRACEBACKS, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = wants_tracebacks()  # a log file on a full disk is no reason for tracebacks
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    with _outlets():
        if not sys.stderr.isatty():
            for variable in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
                os.environ.setdefault(variable, "1")
        try:
            with interruptible():
                yield
        except Interrupted as stop:
            print(f"{stop}: what was finished is kept, and the same command goes on from there.", file=sys.stderr)
            sys.exit(stop.exit_code)
        except Exception as error:
            if wants_tracebacks():
                raise
            print(f"Error: {explain(error)}", file=sys.stderr)
            sys.exit(1)


def take_text_as_typed(config_name: str) -> None:
    """Changes the arguments of this process, which Hydra is about to read, with `as_typed`."""
    sys.argv[1:] = [as_typed(argument, config_name) for argument in sys.argv[1:]]


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Makes the `main` of a command of what it does with its composed configuration."""

    def decorate(do: Callable[[DictConfig], None]) -> Callable[[], None]:
        @wraps(do)
        def guarded(cfg: DictConfig) -> None:
            with plain_errors():  # here too, before Hydra adds a line of its own
                do(cfg)

        compose_and_do = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(guarded)

        def main() -> None:
            with plain_errors():
                take_text_as_typed(config_name)
                compose_and_do()

        return main

    return decorate


def say(*lines: str) -> None:
    """Prints lines as they are: a terminal's width and brackets in them change nothing."""
    for line in lines:
        print(line, flush=True)


def explain(error: BaseException) -> str:
    """Returns what went wrong and what to do, in one sentence where the user can mend it, without secrets."""
    return redact(_explanation(error))


def _explanation(error: BaseException) -> str:
    if isinstance(error, DepruneError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_override(error)
    if missing := missing_launcher(str(error)):
        return missing
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # logging wraps the log file's
    if isinstance(cause, OSError) and cause.filename:
        otherwise = "if results were to lie there, choose another folder with results_dir=<folder>"
        return f"{cause.filename} cannot be used: {cause.strerror}; mend that, or, {otherwise}."
    kind, reasons = type(error).__name__, [one_line(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        reasons += [one_line(error)] if one_line(error) not in reasons[-1] else []
    return f"{kind}: {shorten(': '.join(reasons), LONGEST, placeholder=' …')} (set HYDRA_FULL_ERROR=1 to see where)"
