"""The documentation's example of a new search is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from deprune.record.store import read_record
from tests.conftest import ROOT, Command

GUIDE = (ROOT / "deprune" / "search" / "README.md").read_text()


@pytest.mark.slow
def test_the_example_of_the_guide_runs_from_a_users_folder(sweep: Command, tmp_path: Path) -> None:
    (code,), (yaml,) = (re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL) for kind in ("python", "yaml"))
    assert len((code + yaml).splitlines()) < 40
    folder = tmp_path / "mine"
    (folder / "search").mkdir(parents=True)
    (folder / "best_of_random.py").write_text(code)
    (folder / "search" / "best_of_random.yaml").write_text(yaml)
    small = ["budget=2", "calib.n_samples=4", "calib.seq_len=32", "eval=none", "tracking=none"]
    result = sweep(
        f"hydra.searchpath=[file://{folder}]", "search=best_of_random", *small, env={"PYTHONPATH": str(folder)}
    )
    assert result.code == 0, result.err
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert record.search == "best_of_random"
    assert record.identity["search"]["draws"] == 9
    assert record.trace[-1]["evaluations"] <= 9


def test_the_table_has_every_search_and_what_it_costs() -> None:
    table = GUIDE.split("\n## ")[0]
    costs = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))
    conf = {path.stem: OmegaConf.load(path) for path in (ROOT / "conf" / "search").glob("*.yaml")}
    assert set(costs) == set(conf)
    ga, swaps = conf["ga"], conf["fast_block_select"]
    children = ga.generations * (ga.population - round(ga.elitism * ga.population))
    assert f"N + {ga.population + children}" in costs["ga"]
    assert f"N + {conf['bo'].trials}" in costs["bo"]
    assert f"+ {conf['beam'].width} Σ" in costs["beam"]
    assert f"+ {conf['cbo'].candidates}" in costs["cbo"]
    assert f"≤ {1 + swaps.swaps * swaps.max_rounds}," in costs["fast_block_select"]
