"""How the jobs of a sweep ended, as files in their folders that any process can read; and what took their time."""

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from deprune.core.files import write_atomically


@dataclass
class Stopwatch:
    """Seconds by phase.

    Attributes:
        current: The phase that was entered last.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    current: str = "preparation"

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        started, self.current = time.perf_counter(), name
        try:
            yield
        finally:
            spent = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.seconds[name] = round(spent, 3)


OUTCOME_FILE = "outcome.json"

STOP_FILE = "stop.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended, or that it runs.

    Attributes:
        job: The overrides that make this job, as on the command line.
        status: `running`, `done`, `found` where the record was there before, `failed`, `skipped` where it
            failed before and is not run again, or `interrupted`.
        run_id: The run, where it got that far.
        reason: Why it failed, in one sentence.
        signal: The signal that interrupted it.
        process: The machine and the process of a job that runs.
    """

    job: str
    status: str
    run_id: str | None = None
    reason: str | None = None
    signal: int | None = None
    process: tuple[str, int] | None = None


def this_process() -> tuple[str, int]:
    """Returns the machine and the process."""
    return platform.node(), os.getpid()


def running_here(outcomes: Sequence[Outcome]) -> list[int]:
    """Returns the processes of this machine that run jobs."""
    processes = {o.process for o in outcomes if o.status == "running" and o.process is not None}
    return [pid for host, pid in sorted(processes) if host == platform.node() and psutil.pid_exists(pid)]


def leave(folder: Path, outcome: Outcome) -> None:
    """Writes the outcome of a job into its folder.

    Raises:
        RecordError: The folder cannot be written.
    """
    write_atomically(folder / OUTCOME_FILE, json.dumps(asdict(outcome), indent=1))


def read_outcomes(folder: Path) -> list[Outcome]:
    """Returns the outcomes of the jobs below a sweep's folder, in the order of the jobs."""
    paths = sorted(folder.rglob(OUTCOME_FILE), key=lambda p: (len(p.parent.name), p.parent.name))
    contents = [json.loads(path.read_text()) for path in paths]
    return [Outcome(**{**c, "process": c["process"] and tuple(c["process"])}) for c in contents]


def stop(sweep_folder: Path, number: int) -> None:
    """Keeps further jobs of a sweep from starting, on whatever machine."""
    write_atomically(sweep_folder / STOP_FILE, json.dumps({"signal": number}))


def stopped_by(sweep_folder: Path) -> int | None:
    """Returns the signal since which jobs of a sweep may no longer start, or None where they may."""
    path = sweep_folder / STOP_FILE
    return int(json.loads(path.read_text())["signal"]) if path.is_file() else None
