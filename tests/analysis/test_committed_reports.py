"""The two committed reports of the miniature study come out of its committed records: every verdict and every table."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from deprune.analysis import load
from deprune.analysis.report import gather, judge
from deprune.analysis.report.tables import make_tables
from tests.conftest import ROOT

STUDY = ROOT / "experiments" / "mini_study"
NEED_EVALUATIONS = {"gaps", "gaps_by_search"}
"""Tables of evaluation stores, which no archive holds."""


@pytest.mark.slow
@pytest.mark.parametrize(("report", "objective"), [("report", "nll"), ("report_items", "task_margin")])
def test_every_table_is_as_committed(report: str, objective: str) -> None:
    evidence = gather(load(STUDY / "records.parquet", where={"objective": objective}))
    found = {table.name: table.frame for table in make_tables(evidence, judge(evidence))}
    committed = {path.stem: path for path in (STUDY / report / "tables").glob("*.csv")}
    assert set(found) == set(committed) - NEED_EVALUATIONS
    for name, frame in found.items():
        written = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
        # Another processor rounds the last digits otherwise, and quantiles of logarithms make that 1e-8 of them.
        pd.testing.assert_frame_equal(written, read(committed[name]), rtol=1e-7, atol=1e-10, obj=name)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)
