"""Every mistake in cases.yaml gets one sentence that says what to do, an exit code, and leaves no record."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from deprune.model.source import EMBEDDED_FOLDER
from tests.conftest import Command

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))

EVERY = 5
"""The quick part of the tests tries one in so many cases."""

QUICK = ["tracking=none", "eval.limit=5"]


def prepare(case: dict[str, Any]) -> None:
    """Makes the files of a case, in the folder where the command will run."""
    if "model" in case:
        shutil.copytree(EMBEDDED_FOLDER / "tiny_llama", case["model"])
    for name in case.get("remove", []):
        Path(case["model"], name).unlink()
    for name, content in case.get("files", {}).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def test_there_are_many_different_cases() -> None:
    assert len(CASES) >= 60
    assert len({case["name"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["name"], marks=[pytest.mark.slow] if number % EVERY else [])
        for number, case in enumerate(CASES)
    ],
)
def test_bad_input(case: dict[str, Any], run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deprune.data.hub._answers", lambda endpoint: True)  # spares the search for a network
    prepare(case)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    command, arguments = case.get("command", "sweep"), case["arguments"]
    given = {argument.partition("=")[0] for argument in arguments}
    quick = [a for a in QUICK if command == "sweep" and a.partition("=")[0] not in given]
    result = run_here(command, *arguments, *quick)
    said = result.out + result.err
    assert result.code == 1, said
    assert "Traceback" not in said
    if "-m" not in arguments:
        assert result.err.startswith("Error: ")
        assert len(result.err.strip().splitlines()) == 1
        said = result.err
    assert case["sentence"] in " ".join(said.split())
    assert {path for path in tmp_path.rglob("record.json")} <= before


def test_weights_that_give_numbers_that_are_none(sweep_here: Command, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in (EMBEDDED_FOLDER / "tiny_llama").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38  # finite, but the logits are not
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    overrides = ["model=hub", "model.path=broken", "calib.n_samples=2", "calib.seq_len=16"]
    result = sweep_here(*overrides, "tracking=none", "eval=none")
    assert result.code == 1
    assert result.err.startswith("Error: The loss of the dense model on mixture is not finite")
    assert not list(tmp_path.rglob("record.json"))


def test_grid_goes_on_after_a_failure(sweep_here: Command, tmp_path: Path) -> None:
    result = sweep_here(
        "-m", "budget=1,12", "search=oneshot", "tracking=none", "eval=none", "calib.n_samples=2", "calib.seq_len=32"
    )
    assert result.code == 1
    assert "Jobs: 1 done, 0 found done before, 1 failed." in result.out
    assert "Error in 1 of 2 jobs: The budget of 12 blocks does not fit" in result.out
    assert " budget=12 " in result.out
    assert len(list(tmp_path.rglob("record.json"))) == 1
