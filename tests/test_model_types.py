"""The table of model types is of the installed version and of all its types, and its script gives what it says."""

import csv
import functools
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.conftest import ROOT

FOLDER = ROOT / "experiments" / "model_types"

with (FOLDER / "types.csv").open(encoding="utf-8", newline="") as _file:
    TABLE = {row.pop("type"): row for row in csv.DictReader(_file)}

COLUMNS = ("losses", "removal", "export", "generation", "task")

QUICK = ("llama",)
SLICE = ("bamba", "deepseek_v3", "diffllama", "gemma4_text", "gpt_neo", "lfm2", "minicpm3", "minimax", "rwkv")


@functools.cache
def script() -> ModuleType:
    """The script as a module, which finds its neighbour."""
    spec = importlib.util.spec_from_file_location("model_types_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def words(row: dict[str, str]) -> list[str]:
    return [row[column].partition(":")[0] for column in COLUMNS]


def test_the_table_is_of_the_installed_version() -> None:
    """With another, run `python experiments/model_types/run.py` anew and read what changed."""
    for row in TABLE.values():
        assert row["transformers"] == importlib.metadata.version("transformers")
    assert TABLE.keys() == {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}


def test_no_type_is_wrong_and_many_are_right() -> None:
    made = {kind: words(row) for kind, row in TABLE.items() if row["made"] == "yes"}
    assert len(made) >= 150
    assert not {kind for kind, of in made.items() if not {*of} <= {"right", "refused"}}
    assert sum({*of} == {"right"} for of in made.values()) >= 60


def test_the_page_counts_what_the_table_holds() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    right = sum({*words(row)} == {"right"} for row in TABLE.values())
    assert f"{len(TABLE)} types" in text
    assert f"{right} right in all columns" in " ".join(text.split())
    for kind in TABLE:
        assert f"\n| `{kind}` |" in text


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLICE)])
def test_the_script_gives_the_row(kind: str, tmp_path: Path) -> None:
    row = script().row_of(kind, tmp_path)
    assert words(row) == words(TABLE[kind])
