"""`python -m deprune` lists every command there is, for a terminal of 80 columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.conftest import ROOT


def test_every_command_is_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deprune"],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    listed = re.findall(r"^ python -m deprune\.(\w+) ", done.stdout, flags=re.MULTILINE)
    commands = {p.stem for p in (ROOT / "deprune").glob("[a-z]*.py") if "@__main__" in p.read_text()}
    assert set(listed) == commands
    assert len(listed) == len(commands)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout, "no colours in a pipe"
