"""Whether what is said can be written changes nothing: each command does its work and exits as ever."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from deprune.__main__ import COMMANDS
from tests.conftest import Command, commands_here

TINY = ["calib=facts", "calib.n_samples=2", "calib.seq_len=16", "eval=none", "tracking=none", "model=tiny_llama"]
SWEEP = ["-m", *TINY, "search=exhaustive,last", "budget=1"]

RUNS = {
    "sweep": SWEEP,
    "plan": SWEEP,
    "prefetch": SWEEP,
    "gaps": ["out=gaps.csv"],
    "archive": ["out=records.parquet"],
    "export": ["model=tiny_llama", "subset=[1]", "out=checkpoint"],
    "analyze": ["published=true", "response=accuracy", "where={model: llama3-8b}"],
    "dashboard": ["tracking.project=study"],
}
"""What each command is given, in an order in which each finds what it needs."""

Unread = Callable[..., int]


@pytest.fixture
def unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unread]:
    """Runs a command whose output is a pipe that nobody reads any more; gives its exit code."""

    def run(command: str, *arguments: str) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w", encoding="utf-8") as pipe, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", pipe)
            code = command_here(command, *arguments)
            assert stat.S_ISCHR(os.fstat(writer).st_mode), "nothing was printed into the closed pipe"
        return code

    with commands_here(tmp_path) as command_here:
        yield run


def test_the_list_of_commands(unread: Unread) -> None:
    assert unread("__main__") == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help(unread: Unread, command: str) -> None:
    assert unread(command, "--help") == 0


@pytest.mark.slow
def test_every_command_does_its_work(unread: Unread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deprune.tracking.workspace.save_workspace", lambda tracking: "https://somewhere")
    assert set(RUNS) == set(COMMANDS)
    for command, arguments in RUNS.items():
        assert unread(command, *arguments) == 0, command
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == 2
    assert len(pd.read_csv(tmp_path / "gaps.csv")) == 2
    for written in ("records.parquet", "checkpoint/model.safetensors", "report/report.html"):
        assert (tmp_path / written).is_file()


@pytest.mark.slow
def test_failures_are_failures(unread: Unread) -> None:
    assert unread("sweep", *SWEEP[:-1], "budget=1,12") == 1
    assert unread("plan", *SWEEP[:-1], "budget=12") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("place", "encoding"), [("/dev/full", "utf-8"), ("said", "ascii")])
def test_nowhere_to_say_it(
    place: str, encoding: str, run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room, or an encoding without the signs of the table and of the names in it."""
    with (tmp_path / place).open("w", encoding=encoding) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert run_here("sweep", *SWEEP, "results_dir=ä").code == 0
        assert run_here("sweep", "--help").code == 0
    assert len(list(tmp_path.glob("ä/runs/*/record.json"))) == 2


REDIRECTIONS = [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", ">/dev/full 2>/dev/full"]


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_closed_and_full_from_the_start(redirection: str, tmp_path: Path) -> None:
    """Files that are opened where a stream was closed hold no word of what is said."""
    script = """
import contextlib, os, sys
from deprune.run.cli import plain_errors
with plain_errors():
    kept = open("kept", "w")
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        print("said", file=stream, flush=True)
        with contextlib.suppress(OSError):
            os.write(number, b"said")  # as libraries do that are not written in Python
    kept.write("é")
"""
    for ending, code in (("", 0), ("    raise ValueError", 1)):
        (tmp_path / "script.py").write_text(script + ending)
        shell = ["bash", "-c", f"{sys.executable} script.py {redirection}"]
        assert subprocess.run(shell, cwd=tmp_path, capture_output=True, check=False).returncode == code
        assert (tmp_path / "kept").read_text() == "é"


def test_as_a_process() -> None:
    """Python itself flushes what it prints when it ends; errors go into the closed pipe as well."""
    for arguments, code in ((["--help"], 0), (["budgt=1"], 1)):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w", encoding="utf-8") as pipe:
            command = [sys.executable, "-m", "deprune.sweep", *arguments]
            assert subprocess.run(command, stdout=pipe, stderr=pipe, check=False).returncode == code
