"""The committed miniature study is what its records say, and a slice of it run again gives the committed records."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from deprune.analysis import Results, load
from deprune.analysis.read.parquet import unpack
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore
from tests.conftest import ROOT, Command

STUDY = ROOT / "experiments" / "mini_study"
GRIDS = {"report": "nll", "report_items": "task_margin"}

SLICE = [
    "-m", "+experiment=mini", "model=tiny_llama", "calib=procedures", "calib.seed=2", "calib.seq_len=128",
    "search=oneshot,greedy,beam,ga,cbo,fast_block_select",
]  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Results:
    return load(STUDY / "records.parquet")


def test_the_grids_are_complete(study: Results) -> None:
    runs = study.runs
    assert len(runs) == 2592
    assert set(study.excluded.values()) == {0}
    for objective, cells in (("nll", 3 * 4 * 2 * 2 * 3 * 8 * 2), ("task_margin", 3 * 2 * 3 * 8 * 2)):
        factors = ["model", "calib_config", "calib_seed", "search", "budget"]
        assert len(runs.loc[runs["objective"] == objective, factors].drop_duplicates()) == cells
    scored = study.scores[study.scores["response"].notna()]
    assert (scored.groupby("task", observed=True)["item_set"].nunique() == 1).all(), "all models answer the same items"
    assert (scored.groupby("run_id", observed=True).size() == 10).all()


def test_the_text_quotes_the_tables() -> None:
    text = (STUDY / "README.md").read_text()
    for folder in GRIDS:
        with (STUDY / folder / "tables" / "claims.csv").open(newline="") as file:
            claims = list(csv.DictReader(file))
        for claim in {c["claim"]: c["verdict"] for c in claims}.items():
            assert "| {} | {} |".format(*claim) in text, (folder, claim)
        for claim in claims:
            assert claim["reason"] in text, (folder, claim["part"])


def scientific(record: RunRecord) -> dict[str, Any]:
    """Everything but times, the machine, the trace, whose near-ties may come in another order elsewhere, and what the
    first edition did not say: levels of chance, what a search says of itself, and where its scores lie now."""
    content = asdict(record)
    rows = {(row["task"], row["metric"]): {**row, "chance": None} for row in content["scores"].pop("metrics")}
    for part, names in (("removal", ("trace", "search")), ("provenance", ("environment", "written_at", "stores"))):
        for name in names:
            content[part].pop(name)
    return {**content, "rows": rows, "cost": content["cost"]["n_evals"]}


def assert_equal(found: Any, expected: Any, where: str) -> None:
    """Equal, but for the last digits of numbers, which another processor may round otherwise."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key in expected:
            assert_equal(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_equal(a, b, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-8), (where, found, expected)
    else:
        assert found == expected, where


@pytest.mark.slow
def test_a_slice_gives_the_committed_records(sweep_here: Command, tmp_path: Path) -> None:
    unpack(STUDY / "records.parquet", tmp_path / "committed")
    committed = ResultStore(tmp_path / "committed")
    assert sweep_here(*SLICE).code == 0
    records = list(ResultStore(tmp_path / "results").records())
    assert len(records) == 24
    for record in records:
        expected = committed.get(record.run_id)
        assert expected is not None, json.dumps(record.identity)
        assert_equal(scientific(record), scientific(expected), record.run_id)
