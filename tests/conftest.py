"""Fixtures that many tests share: tiny random models, embedded models, the local Hub."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")
torch.set_num_threads(1)  # the suite runs on as many processes as there are cores

from deprune.core.memory import Memory
from deprune.model.load import LoadedModel, load_model
from deprune.model.source import ModelConfig

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FAMILIES = ("tiny_llama", "tiny_qwen3", "tiny_neox")


@pytest.fixture(scope="session")
def embedded() -> Callable[[str], LoadedModel]:
    """Loads an embedded family by name."""
    memory = Memory()
    return lambda family: memory.once(load_model, ModelConfig(path=f"deprune:{family}", name=family), "cpu", "float32")


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str


Command = Callable[..., CommandResult]


@pytest.fixture
def sweep(tmp_path: Path) -> Command:
    """Runs `python -m deprune.sweep`, or another command, as a user does, in an empty folder with an empty home."""

    def run(
        *overrides: str, env: dict[str, str] | None = None, timeout: float = 300, command: str = "sweep"
    ) -> CommandResult:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "WANDB_", "TQDM_", "DEPRUNE_"))}
        environment = inherited | {"HOME": str(home), "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"} | (env or {})
        words = [sys.executable, "-m", f"deprune.{command}", *overrides]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts local Hubs that serve real data to the real clients; gives their addresses."""
    server = SHARED / "tools" / "minihub.py"
    if not server.is_file():
        pytest.skip("the local Hub's data is not on this machine")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> str:
        address = tmp_path / f"hub-{len(running)}.url"
        command = [sys.executable, str(server), "--root", str(SHARED / "hub"), "--address-file", str(address), *options]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 20
        while not (address.is_file() and address.read_text()):
            assert time.monotonic() < deadline, "the local Hub did not start"
            time.sleep(0.05)
        return address.read_text()

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command of the package in this process, where that is equal to a user's call and faster.

    Hydra sets up logging for the whole process; it is taken back, so that no test sees another's.
    """
    root, package = logging.getLogger(), logging.getLogger("deprune")
    before = root.handlers[:], root.level, package.level
    monkeypatch.chdir(tmp_path)
    for variable in ("HYDRA_FULL_ERROR", "DEPRUNE_TRACEBACKS"):
        monkeypatch.setenv(variable, "0")

    def run(command: str, *overrides: str) -> CommandResult:
        main = importlib.import_module(f"deprune.{command}").main
        monkeypatch.setattr(sys, "argv", [f"deprune.{command}", *overrides])
        capfd.readouterr()
        code: int | str | None = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        printed = capfd.readouterr()
        assert isinstance(code, int)
        return CommandResult(code, printed.out, printed.err)

    yield run
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    package.setLevel(before[2])


@pytest.fixture
def sweep_here(run_here: Command) -> Command:
    """Runs `python -m deprune.sweep` in this process."""
    return functools.partial(run_here, "sweep")
