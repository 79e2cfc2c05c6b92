"""The documentation's example of a new search is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deprune.record import read_record
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


def test_the_table_names_every_search() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))
    assert named == {path.stem for path in (ROOT / "conf" / "search").glob("*.yaml")}
