"""Folders see one another in one direction only, in every file below them."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "deprune"

BELOW = {
    "core": "",
    "embedded": "core",
    "record": "core",
    "search": "core",
    "tracking": "core record",
    "analysis": "core record",
    "data": "core embedded",
    "model": "core embedded record data",
    "objective": "core embedded record data model",
    "evaluator": "core embedded record search data model objective",
    "treat": "core embedded record search data model objective evaluator",
    "downstream": "core embedded record search data model objective evaluator",
    "run": "core embedded record search tracking data model objective evaluator treat downstream",
    "planning": "core embedded record search tracking data model objective evaluator treat downstream run",
}
"""Folder -> the folders that its files may import, beside their own."""

NOT_IN_THE_ANALYSIS = {"torch", "transformers", "hydra", "wandb", "lm_eval", "datasets"}


def imports(path: Path) -> Iterator[str]:
    """Yields the full names of modules that a file imports, wherever it does, and of what it takes from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_is_in_the_order() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(BELOW)


def test_the_order_has_no_circle() -> None:
    for folder, below in BELOW.items():
        for other in below.split():
            assert folder not in BELOW[other].split()
            assert set(BELOW[other].split()) <= set(below.split()), (folder, other)


@pytest.mark.parametrize("folder", BELOW)
def test_imports_go_one_way(folder: str) -> None:
    allowed = {folder, *BELOW[folder].split(), "__version__"}
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "deprune" and len(parts) > 1:
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_analysis_reads_files_and_no_model() -> None:
    for path in (PACKAGE / "analysis").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & NOT_IN_THE_ANALYSIS, path


def test_searches_need_no_model() -> None:
    for path in (PACKAGE / "search").rglob("*.py"):
        top = {name.split(".")[0] for name in imports(path)} - {"deprune", *sys.stdlib_module_names}
        assert top <= {"numpy", "scipy", "sklearn", "torch", "tqdm"}, path


def test_few_files_lie_beside_the_folders() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


OUTLIVES_A_JOB = {
    "data/corpora.py _embedded_documents",  # what the package itself writes, always the same
    "data/items.py _embedded_items",
    "data/known.py known",  # a table of the package
    "data/hub.py _answers",  # whether a Hub is there, which takes seconds to find out that it is not
    "data/tasks.py _index",  # lm-eval's index of its own files
    "data/tasks.py _folders",
    "run/environment.py _code_state",
    "run/launch.py process_session",  # the launcher's one session, which holds all else
    "run/workers.py take_share",
}
"""Everything outside the analysis that a process keeps by a decorator: no model, no store, no task."""


def test_what_is_expensive_belongs_to_the_session() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "analysis" not in path.parts:
                decorators = {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list}
                if decorators & {"cache", "lru_cache"}:
                    found.add(f"{path.relative_to(PACKAGE)} {node.name}")
    assert found <= OUTLIVES_A_JOB, found - OUTLIVES_A_JOB


def test_a_name_of_a_module_has_one_meaning() -> None:
    """Those that stand in several folders mean the same there, each of its own folder."""
    counts = Counter(path.stem for path in PACKAGE.rglob("*.py"))
    assert {name for name, n in counts.items() if n > 1} == {"__init__", "base", "config", "identity"}
