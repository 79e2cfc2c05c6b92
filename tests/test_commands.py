"""`python -m deprune` lists every command there is, for a terminal of 80 columns; errors are told in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from deprune.run.cli import explain
from tests.conftest import ROOT


def test_every_command_is_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deprune"],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    listed = re.findall(r"^ python -m deprune\.(\w+) ", done.stdout, flags=re.MULTILINE)
    commands = {p.stem for p in (ROOT / "deprune").glob("[a-z]*.py") if 'if __name__ == "__main__"' in p.read_text()}
    assert set(listed) == commands
    assert len(listed) == len(commands)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout, "no colours in a pipe"


def test_all_that_a_library_says_is_said() -> None:
    """Their first lines often end before the reason, or what they were raised from holds it."""
    try:
        try:
            raise KeyError("layer 3")
        except KeyError as error:
            raise TypeError("Class validation error for validator 'kinds':\n\n    10 blocks, 12 kinds.\n") from error
    except TypeError as error:
        said = explain(error)
    assert said.startswith(
        "TypeError: Class validation error for validator 'kinds': 10 blocks, 12 kinds: 'layer 3' is missing"
    )
    assert "no reason" not in explain(AssertionError())
    assert explain(AssertionError()).startswith("AssertionError")
    long = explain(ValueError("word " * 10_000))
    assert "\n" not in long
    assert 500 < len(long) < 1000


@pytest.mark.parametrize("place", ["m/config.json", "results/runs"])
def test_a_file_is_blamed_by_its_name(place: str) -> None:
    said = explain(PermissionError(13, "Permission denied", place))
    assert said.startswith(f"{place} cannot be used: Permission denied; ")
    assert "if results were to lie there, choose another folder with results_dir=" in said
