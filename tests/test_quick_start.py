"""A command that runs no model loads none of the libraries that do, which take most of its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command

MODEL_CODE = {"transformers.modeling_utils", "lm_eval", "datasets"}
LIBRARIES = {"torch", "transformers", "accelerate", "pandas", "scipy", "sklearn", "wandb"} | MODEL_CODE
JOBS = ["-m", "search=oneshot,last", "budget=1", "calib=facts", "calib.n_samples=2", "calib.seq_len=16"]
JOBS += ["eval.tasks=[mini_one_hop]", "eval.limit=2", "eval.corpora=[facts]", "eval.windows=1", "tracking=none"]

PROGRAM = """
import importlib, json, sys
command, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = f"deprune.{command}"
try:
    importlib.import_module(sys.argv[0]).main()
except SystemExit as end:
    code = end.code
else:
    code = 0
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Command:
    """Runs a command in a process of its own; gives its exit code, what it loads, and what it printed."""

    def run(command: str, *overrides: str) -> tuple[int, set[str], str]:
        words = [sys.executable, "-c", PROGRAM, command, *overrides]
        environment = {**os.environ, "HYDRA_FULL_ERROR": "0", "DEPRUNE_TRACEBACKS": "0"}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        *printed, last = done.stdout.splitlines()
        code, modules = json.loads(last)
        return code or 0, set(modules), "\n".join(printed) + done.stderr

    return run


def test_a_sweep_that_finds_everything_remembered(sweep_here: Command, loaded: Command) -> None:
    assert sweep_here(*JOBS).code == 0
    code, modules, said = loaded("sweep", *JOBS)
    assert (code, "Nothing left to do: all 2 jobs" in said) == (0, True), said
    assert not LIBRARIES & modules


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["search=gredy"], "did you mean greedy"),
        (["calib.n_sample=4"], "did you mean calib.n_samples"),
        (["calib.n_samples=few"], "'calib.n_samples'"),
        (["search=beam", "search.width=0"], "search.width"),
        (["budget=99"], "does not fit a model of 12 blocks"),
        (["treat=heal"], "There is no treat 'heal'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_typing_error(overrides: list[str], sentence: str, loaded: Command) -> None:
    code, modules, said = loaded("sweep", *overrides, "tracking=none")
    assert code == 1
    assert sentence in said
    assert not LIBRARIES & modules


@pytest.mark.parametrize("command", ["sweep", "plan", "prefetch", "analyze", "gaps", "archive", "export", "dashboard"])
def test_help(command: str, loaded: Command) -> None:
    code, modules, said = loaded(command, "--help")
    assert (code, "deprune" in said) == (0, True)
    assert not LIBRARIES & modules


@pytest.mark.slow
def test_an_analysis(sweep_here: Command, loaded: Command) -> None:
    assert sweep_here(*JOBS, "calib.seed=0,1").code == 0
    code, modules, said = loaded("analyze", "results_dir=results", "out=report")
    assert (code, "Written: report/report.html" in said) == (0, True), said
    assert not {"torch", "transformers"} & modules
    assert not MODEL_CODE & modules
