"""Writing files so that nobody ever sees half of one."""

import os
import tempfile
from pathlib import Path

from deprune.core.errors import RecordError
from deprune.core.interruption import held_back


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it; a signal to stop waits until it is done.

    Raises:
        RecordError: The folder cannot be written.
    """
    with held_back():
        _write_atomically(path, text)


def _write_atomically(path: Path, text: str) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RecordError(
            f"The results cannot be written to {path}: {error.strerror}; make room, or choose another folder with "
            "results_dir=<folder>."
        ) from error


def require_writable(folder: Path) -> None:
    """Makes sure that files can be written in a folder, creating it where it is missing.

    Raises:
        RecordError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RecordError(
            f"The results folder {folder} cannot be written: {error.strerror}; choose another folder with "
            "results_dir=<folder>."
        ) from error
