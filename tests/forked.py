"""Sweeps in processes that are forked from one that has imported everything: real ones, a tenth of a second old."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path


def start(folder: Path, overrides: Sequence[str]) -> ForkServerProcess:
    """Starts `python -m deprune.sweep` in a folder, which gets what it prints as `output.txt`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload", __name__])  # counts before the first process
    process = context.Process(target=_run, args=(str(folder), overrides))
    process.start()
    return process


def _run(folder: str, overrides: Sequence[str]) -> None:
    from deprune.sweep import main

    os.chdir(folder)
    sys.argv = ["deprune.sweep", *overrides]
    for stream in (1, 2):
        os.dup2(os.open("output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
    main()
