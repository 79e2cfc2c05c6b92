"""The two committed reports of the miniature study come out of its committed records: every verdict and every table."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest

from deprune.analysis import load
from deprune.analysis.report import gather, judge
from deprune.analysis.report.tables import make_tables
from tests.conftest import ROOT

STUDY = ROOT / "experiments" / "mini_study"
NEED_EVALUATIONS = {"gaps", "gaps_by_search"}
"""Tables of evaluation stores, which no archive holds."""

RESAMPLED = re.compile(r"(^|_)(low|high)$")
"""Ends of intervals: items are drawn again in single precision, which other processors round otherwise."""


@pytest.mark.slow
@pytest.mark.parametrize(("report", "objective"), [("report", "nll"), ("report_items", "task_margin")])
def test_every_table_is_as_committed(report: str, objective: str) -> None:
    evidence = gather(load(STUDY / "records.parquet", where={"objective": objective}))
    found = {table.name: table.frame for table in make_tables(evidence, judge(evidence))}
    committed = {path.stem: path for path in (STUDY / report / "tables").glob("*.csv")}
    assert set(found) == set(committed) - NEED_EVALUATIONS
    for name, frame in found.items():
        written, expected = pd.read_csv(io.StringIO(frame.to_csv(index=False))), pd.read_csv(committed[name])
        assert list(written) == list(expected)
        ends = [column for column in written if RESAMPLED.search(column)]
        pd.testing.assert_frame_equal(written.drop(columns=ends), expected.drop(columns=ends), rtol=1e-9, atol=1e-11)
        pd.testing.assert_frame_equal(written[ends], expected[ends], rtol=1e-5, atol=1e-8)
