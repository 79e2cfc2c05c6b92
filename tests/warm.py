"""A process that has imported everything, and forks one for each command that it reads: a line of JSON.

Its environment is that of all of them, as libraries read it when they are imported.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class WarmProcess:
    """Runs commands of the package one after the other, each in a process of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        words = [sys.executable, "-m", __name__]
        root = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = subprocess.Popen(
            words, env={**environment, **root}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, folder: Path, *words: str) -> tuple[int, str, str]:
        """Runs a command in a folder, as `python -m` would; returns its exit code and what it printed."""
        outlets = [folder / "stdout.txt", folder / "stderr.txt"]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), [*map(str, outlets)], words]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = (path.read_text() for path in outlets)
        return code, out, err

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Forks; the parent goes on reading, a child runs its command and ends as a command does."""
    importlib.import_module("tests.preload")
    for line in sys.stdin:
        folder, outlets, words = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            for stream, path in enumerate(outlets, start=1):
                os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
            sys.argv = words
            importlib.import_module(words[0]).main()
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
