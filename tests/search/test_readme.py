"""The example of a new search in the documentation, run as it stands there."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deprune.cli import CONF_DIR
from deprune.config import name_of, parse
from tests.conftest import ROOT, Command
from tests.toys import problem, quadratic_loss

README = (ROOT / "deprune" / "search" / "README.md").read_text()
FILES = re.findall(r"`(mine/\S+)`\n\n```\w+\n(.*?)```", README, flags=re.DOTALL)
(COMMAND,) = re.findall(r"^    PYTHONPATH=mine python -m deprune\.sweep (.*)$", README, flags=re.MULTILINE)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The folder of the example, in the working directory of the command."""
    for name, content in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path / "mine"


def overrides(mine: Path) -> list[str]:
    return [word.strip("'").replace("file://mine", f"file://{mine}") for word in COMMAND.split()]


def test_the_example_is_two_short_files() -> None:
    assert [Path(name).suffix for name, _ in FILES] == [".py", ".yaml"]
    assert sum(content.count("\n") for _, content in FILES) < 40


def test_the_example_is_composed_and_searches(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(mine)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        search = parse(compose("config", overrides(mine))).search
    assert name_of(search) == "best_of"
    loss, task = quadratic_loss(8, seed=1), problem(quadratic_loss(8, seed=1), 8, 3)
    found = search.run(task, np.random.default_rng(3)).subset
    assert found in task.space
    rng = np.random.default_rng(3)
    assert loss(found) == min(loss(task.space.sample(rng)) for _ in range(50))


@pytest.mark.slow
def test_the_example_runs_as_it_says(mine: Path, sweep: Command, tmp_path: Path) -> None:
    path = os.pathsep.join(["mine", os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    small = ["calib.n_samples=4", "calib.seq_len=32", "budget=2", "eval=none", "tracking=none"]
    done = sweep(*(word.strip("'") for word in COMMAND.split()), *small, env={"PYTHONPATH": path})
    assert done.code == 0, done.err
    (path_of_record,) = (tmp_path / "results" / "runs").glob("*/record.json")
    record = json.loads(path_of_record.read_text())
    assert record["search"] == "best_of"
    assert len(record["removed"]) == 2
    assert record["identity"]["search"]["draws"] == 50


def test_the_table_has_every_search_and_its_cost_at_the_default_settings() -> None:
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\(\1\.py\) \|.*\| ([^|]+) \|$", README, flags=re.MULTILINE))
    assert set(rows) == {path.stem for path in (CONF_DIR / "search").glob("*.yaml")}
    settings = {name: OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml") for name in rows}
    n_elites = round(settings["ga"].elitism * settings["ga"].population)
    children = settings["ga"].generations * (settings["ga"].population - n_elites)
    assert f"N + {settings['ga'].population + children}" in rows["ga"]
    assert f"N + {settings['bo'].trials}" in rows["bo"]
    assert rows["cbo"].startswith(f"{1 + settings['cbo'].candidates} +")
    swaps = settings["fast_block_select"].swaps * settings["fast_block_select"].max_rounds
    assert f"{1 + swaps}" in rows["fast_block_select"]
    assert f"+ {settings['beam'].width} Σ" in rows["beam"]
