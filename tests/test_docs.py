"""What the README says is there is there, and its commands compose."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from deprune.cli import CONF_DIR
from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    python -m deprune\.sweep (.*)$", README, flags=re.MULTILINE)


def test_there_are_commands() -> None:
    assert "-m calib=c4,wikitext search=greedy,oneshot" in COMMANDS
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command: str) -> None:
    overrides = [word.partition(",")[0] for word in shlex.split(command) if word != "-m"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        compose("config", overrides)


def test_make_targets_exist() -> None:
    targets = re.findall(r"^    make (\S+)", README, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_links_and_paths_exist() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    tree = README.split("## Where things are")[1]
    for path in re.findall(r"^ {4}(\S+/)  ", tree, flags=re.MULTILINE):
        assert (ROOT / path).is_dir(), path


def test_notebook_reads_records(sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "tracking=none", "search=oneshot"]
    assert sweep_here("-m", "budget=1,2", *small).code == 0
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    notebook = json.loads((ROOT / "notebooks" / "read_records.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["runs"]) == 2  # type: ignore[arg-type]
    assert set(names["scores"].task) >= {"mini_one_hop", "mini_two_hop"}  # type: ignore[attr-defined]
