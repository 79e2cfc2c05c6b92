"""The notebook runs on other results than those that it was committed with, and says the same as the package."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from deprune.analysis import decompose, load
from tests.conftest import PATIENCE, ROOT, Command

NOTEBOOK = ROOT / "notebooks" / "variance_analysis.ipynb"
PLAIN = ROOT / "notebooks" / "read_records.ipynb"


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)


def test_it_is_committed_with_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code)
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert sum("image/png" in o.get("data", {}) for cell in code for o in cell.outputs) == 2
    assert str(ROOT) not in NOTEBOOK.read_text()
    assert max(len(cell.source.splitlines()) for cell in code) <= 8, "code belongs into the package"


@pytest.mark.slow
def test_it_runs_on_another_sweep(sweep_here: Command, tmp_path: Path) -> None:
    """The sweep is real: an embedded model, two corpora, three searches, two draws."""
    done = sweep_here(
        "-m", "model=tiny_neox", "calib=facts,arithmetic", "calib.seed=0,1", "calib.n_samples=4", "calib.seq_len=64",
        "search=oneshot,greedy,last", "budget=3", "eval.limit=30", "eval.windows=2", "tracking=none",
    )  # fmt: skip
    assert done.code == 0, done.err
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=int(PATIENCE), resources=resources).execute()
    printed = text_of(notebook)
    found = decompose(load(tmp_path / "results"), "accuracy", over_items=True)
    assert str(found.ratio) in printed
    assert f"{found.headline.set_index('quantity').loc['V_C', 'variance']:.3f}" in printed
    assert "12 runs read; left out: nothing." in printed
    plain = nbformat.read(PLAIN, as_version=4)
    NotebookClient(plain, timeout=300, resources=resources).execute()
    assert "mini_one_hop" in text_of(plain)
