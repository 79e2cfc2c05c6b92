"""In CI a test that is skipped is a failure, unless its reason is one of a few: else nobody sees what is not tested.

`.ci/run` sets the variable that turns this on; a user's `make test` skips what the machine cannot do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

VARIABLE = "DEPRUNE_CI"

ALLOWED = {
    r"the local Hub's data is not on this machine": "half a gigabyte of real data sets is no part of the repository",
    r"file systems cannot be mounted here": "a container may not mount, however it is started in CI",
    r"the daemons of SLURM need root": "CI may run as somebody else",
}
"""Beginnings of the reasons for which a test may be skipped in CI, and why each is one."""


def is_allowed(reason: str) -> bool:
    """Whether a test may be skipped for a reason."""
    return any(re.match(f"(Skipped: )?{beginning}", reason) for beginning in ALLOWED)


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get(VARIABLE) != "1" or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason} (in CI no test is skipped, but for the reasons in tests/skips.py)"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Refuses the skip of a test."""
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuses the skip of a whole file."""
    report = yield
    _refuse(report)
    return report
