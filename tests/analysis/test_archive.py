"""An archive holds a results folder: the records, and the answers behind their scores."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from deprune.analysis import decompose, load
from deprune.analysis.read.parquet import pack, unpack
from deprune.core.errors import DataError
from deprune.record.store import ResultStore
from tests.conftest import ROOT, Command

SWEEP = [
    "-m", "calib=facts,narratives", "calib.seed=0,1", "search=oneshot,greedy", "budget=2", "calib.n_samples=4",
    "calib.seq_len=64", "eval.tasks=[mini_one_hop]", "eval.corpora=[facts]", "eval.windows=2", "eval.limit=20",
    "tracking=none",
]  # fmt: skip


@pytest.mark.slow
def test_an_archive_is_the_folder_that_it_was_made_of(sweep_here: Command, run_here: Command, tmp_path: Path) -> None:
    assert sweep_here(*SWEEP).code == 0
    result = run_here("archive", "out=kept/records.parquet")
    assert result.out.startswith("8 records, ")
    results, archive = tmp_path / "results", tmp_path / "kept" / "records.parquet"

    unpack(archive, tmp_path / "again")
    assert list(ResultStore(tmp_path / "again").records()) == list(ResultStore(results).records())
    answers = {p.relative_to(tmp_path / "again"): p for p in (tmp_path / "again").glob("downstream/*/*.json")}
    assert answers
    assert all(path.read_bytes() == (results / name).read_bytes() for name, path in answers.items())

    kept, original = load(archive), load(results)
    pd.testing.assert_frame_equal(kept.runs, original.runs)
    pd.testing.assert_frame_equal(kept.scores, original.scores)
    found = [decompose(each, "accuracy", over_items=True).headline for each in (kept, original)]
    pd.testing.assert_frame_equal(*found)
    table = pd.read_parquet(archive)
    assert set(table["search"]) == {"oneshot", "greedy"}
    assert json.loads(table["record"][0])["scores"]["metrics"][0]["task"] == "mini_one_hop"


def test_an_archive_of_the_first_edition_is_read(tmp_path: Path) -> None:
    """One column for each field of a record, and one file of scores for each model."""
    old = pq.read_table(ROOT / "experiments" / "mini_study" / "records.parquet").slice(0, 20)
    pq.write_table(old, tmp_path / "old.parquet")
    results = load(tmp_path / "old.parquet", where={"objective": "nll"})
    row = old.slice(0, 1).to_pylist()[0]
    run = load(tmp_path / "old.parquet").runs.loc[row["run_id"]] if row["objective"] == "nll" else results.runs.iloc[0]
    assert run["treatment"] == "none"
    assert (tmp_path / "old.parquet").is_file()
    unpack(tmp_path / "old.parquet", tmp_path / "folder")
    pack(tmp_path / "folder", tmp_path / "new.parquet")
    again = load(tmp_path / "new.parquet", where={"objective": "nll"})
    pd.testing.assert_frame_equal(again.runs, results.runs)
    pd.testing.assert_frame_equal(again.scores, results.scores)
    unpack(tmp_path / "new.parquet", tmp_path / "again")
    files = [
        {p.relative_to(f): p.read_bytes() for p in f.glob("downstream/*/*")}
        for f in (tmp_path / "folder", tmp_path / "again")
    ]
    assert files[0] == files[1] != {}


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no runs in"):
        pack(tmp_path, tmp_path / "a.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("torn.parquet", "other.parquet"):
        with pytest.raises(DataError, match="is not an archive of records"):
            load(tmp_path / name)
