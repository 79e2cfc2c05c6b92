"""In CI, and only there, a skipped test is a failure unless its reason is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.skips import ALLOWED, VARIABLE, is_allowed

TESTS = """
import pytest

def test_that_runs(): pass

def test_that_is_allowed():
    pytest.skip("file systems cannot be mounted here: permission denied")

@pytest.mark.skipif(True, reason="no browser")
def test_that_is_not(): pass

@pytest.fixture
def nothing():
    pytest.skip("not today")

def test_whose_fixture_is_not(nothing): pass

@pytest.mark.xfail
def test_that_is_expected_to_fail(): assert False
"""

FILE = 'import pytest\npytest.importorskip("absent_module")\n'


def run(folder: Path, *options: str, ci: str) -> tuple[int, dict[str, int]]:
    """The exit code, and how many tests ended how."""
    (folder / "test_tiny.py").write_text(TESTS)
    (folder / "test_file.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "--rootdir", str(folder), "-rA", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", VARIABLE: ci}
    done = subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    words = done.stdout.splitlines()[-1].strip("= ").partition(" in ")[0].split(", ")
    return done.returncode, {word.split()[1]: int(word.split()[0]) for word in words}


@pytest.mark.parametrize(
    "options", [(), pytest.param(("-p", "xdist", "-n", "2"), marks=pytest.mark.slow)], ids=["one process", "several"]
)
def test_skips_fail_in_ci_alone(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, ended = run(tmp_path, *options, "--continue-on-collection-errors", ci="1")
    assert code == 1
    assert ended == {"passed": 1, "skipped": 1, "xfailed": 1, "errors": 3}
    if not options:
        code, ended = run(tmp_path, ci="0")
        assert (code, ended) == (0, {"passed": 1, "skipped": 4, "xfailed": 1})


def test_the_list_is_short_and_its_reasons_are_in_use() -> None:
    assert len(ALLOWED) <= 5
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.name != "skips.py")
    for beginning in ALLOWED:
        assert beginning in source, "no test is skipped for this"
    assert is_allowed("Skipped: the local Hub's data is not on this machine")
    assert not is_allowed("there is no Chromium on this machine")
