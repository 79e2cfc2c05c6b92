"""Fixtures that many tests share: tiny random models, embedded models, the local Hub."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs on as many processes as there are cores

from deprune.core.memory import Memory
from deprune.model.source import ModelConfig
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

if TYPE_CHECKING:
    from deprune.model.load import LoadedModel

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FAMILIES = ("tiny_llama", "tiny_qwen3", "tiny_neox")

PATIENCE = 1800.0
"""Seconds that a test waits for what must happen: far more than the busiest machine takes, so that only a hang is one.

Nothing else in a test depends on a clock; what is to be quick is counted: attempts, requests, loads, evaluations.
"""


def wait_until(happened: Callable[[], bool], every: float = 0.02) -> None:
    """Waits for a condition that is looked at every so many seconds."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(every)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs slow tests first, so that none is left to a single process at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Spares the collector the libraries: they stay, and a search of all of them takes a fifth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def embedded() -> Callable[[str], LoadedModel]:
    """Loads an embedded family by name."""
    from deprune.model.load import load_model  # here, as the process that hands out the tests needs none of it

    memory = Memory()
    return lambda family: memory.once(load_model, ModelConfig(path=f"deprune:{family}", name=family), "cpu", "float32")


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str


Command = Callable[..., CommandResult]


def pasted(override: str) -> tuple[str, Any]:
    """Returns the key and the value that Hydra is given by an override which is pasted into a shell."""
    shell = subprocess.run(["bash", "-c", f"printf '%s' {override}"], capture_output=True, text=True, check=True)
    parsed = OverridesParser.create().parse_override(shell.stdout)
    return parsed.key_or_group, parsed.value()


def user_environment(home: Path) -> dict[str, str]:
    """What a user with an empty home and no settings has."""
    home.mkdir(exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "WANDB_", "TQDM_", "DEPRUNE_"))}
    return inherited | {"HOME": str(home), "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def sweep(tmp_path: Path) -> Command:
    """Runs `python -m deprune.sweep`, or another command, as a user does, in an empty folder with an empty home."""

    def run(*overrides: str, env: dict[str, str] | None = None, command: str = "sweep") -> CommandResult:
        environment = user_environment(tmp_path / "home") | (env or {})
        words = [sys.executable, "-m", f"deprune.{command}", *overrides]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


@contextlib.contextmanager
def hubs(folder: Path) -> Iterator[Callable[..., str]]:
    """Gives a function that starts a local Hub, which serves real data to the real clients, and returns its address."""
    server = SHARED / "tools" / "minihub.py"
    if not server.is_file():
        pytest.skip("the local Hub's data is not on this machine")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> str:
        address = folder / f"hub-{len(running)}.url"
        command = [sys.executable, str(server), "--root", str(SHARED / "hub"), "--address-file", str(address), *options]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        wait_until(lambda: address.is_file() and address.read_text() != "")
        return address.read_text()

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts local Hubs; gives their addresses."""
    with hubs(tmp_path) as start:
        yield start


@dataclass
class SilentServer:
    """A server that hangs up on everybody, and counts them.

    Attributes:
        url: Its address.
        attempts: How often somebody came.
    """

    url: str
    attempts: int = 0


@pytest.fixture
def silent_server() -> Iterator[SilentServer]:
    """A server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = SilentServer(f"http://127.0.0.1:{door.getsockname()[1]}")

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the door is shut when the test is over
                while True:
                    visitor, _ = door.accept()
                    server.attempts += 1
                    visitor.close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield server
        door.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def commands_here(folder: Path) -> Iterator[Callable[..., int]]:
    """Gives a function that runs a command of the package in this process and a folder, and returns its exit code.

    Hydra sets up logging for the whole process; it is taken back, so that no test sees another's.
    """
    root, package = logging.getLogger(), logging.getLogger("deprune")
    before = root.handlers[:], root.level, package.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("HYDRA_FULL_ERROR", "DEPRUNE_TRACEBACKS"):
            patch.setenv(variable, "0")

        def run(command: str, *overrides: str) -> int:
            main = importlib.import_module(f"deprune.{command}").main
            patch.setattr(sys, "argv", [f"deprune.{command}", *overrides])
            code: int | str | None = 0
            try:
                main()
            except SystemExit as exit_:
                code = exit_.code
            assert isinstance(code, int)
            return code

        yield run
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    package.setLevel(before[2])


@pytest.fixture
def run_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command of the package in this process, where that is equal to a user's call and faster."""
    with commands_here(tmp_path) as command_here:

        def run(command: str, *overrides: str) -> CommandResult:
            capfd.readouterr()
            code = command_here(command, *overrides)
            printed = capfd.readouterr()
            return CommandResult(code, printed.out, printed.err)

        yield run


@pytest.fixture
def sweep_here(run_here: Command) -> Command:
    """Runs `python -m deprune.sweep` in this process."""
    return functools.partial(run_here, "sweep")
