"""The examples of plug-ins in the documentation run as they stand, from a user's folder: one file and one YAML each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deprune.record import RunRecord, read_record
from tests.conftest import ROOT, Command

SMALL = ["budget=2", "calib=facts", "calib.n_samples=4", "calib.seq_len=32", "search=oneshot", "tracking=none"]


def written(page: str, group: str, folder: Path) -> Path:
    """Writes the two files of the example of a page into a folder, and returns it."""
    text = (ROOT / "deprune" / page / "README.md").read_text().split("## Adding one")[1]
    (code,), (yaml,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    (name,) = re.findall(r"`(\w+)\.py`", text)
    (folder / group).mkdir(parents=True)
    (folder / f"{name}.py").write_text(code)
    (folder / group / f"{name}.yaml").write_text(yaml)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 2
    return folder


def records(sweep: Command, folder: Path, *overrides: str) -> list[RunRecord]:
    result = sweep(
        "-m", f"hydra.searchpath=[file://{folder}]", *SMALL, *overrides, env={"PYTHONPATH": str(folder)}
    )  # fmt: skip
    assert result.code == 0, result.err
    return [read_record(path) for path in folder.parent.glob("results/runs/*/record.json")]


@pytest.mark.slow
def test_an_objective(sweep: Command, tmp_path: Path) -> None:
    folder = written("objective", "objective", tmp_path / "mine")
    (record,) = records(sweep, folder, "objective=last_token", "eval=none")
    assert (record.factors.objective, record.removal.unit) == ("last_token", "nat/token")
    assert record.removal.loss != record.removal.dense_loss


@pytest.mark.slow
def test_a_scorer(sweep: Command, tmp_path: Path) -> None:
    folder = written("downstream", "eval", tmp_path / "mine")
    (record,) = records(sweep, folder, "eval=endings")
    (row,) = (row for row in record.scores.metrics if row.scorer == "endings")
    assert (row.response, row.n_items, row.chance) == ("ending", 3, None)
    assert 0 < row.value < 1
    assert 0 < row.dense_value < 1
    assert record.identity["eval"]["endings"]["sentences"][0] == "Anna is in the garden."
    assert record.scores.accuracy is None


@pytest.mark.slow
def test_a_treatment(sweep: Command, tmp_path: Path) -> None:
    """Model and subset agree, and yet each has scores of its own."""
    folder = written("treat", "treat", tmp_path / "mine")
    scored = ["eval=mini", "eval.limit=20", "eval.windows=2", "eval.corpora=[facts]"]
    of = {r.factors.treatment: r for r in records(sweep, folder, "treat=none,softened", *scored)}
    assert set(of) == {"none", "softened"}
    assert of["none"].removal == of["softened"].removal
    assert "treat" not in of["none"].identity
    assert of["softened"].identity["treat"] == {"name": "softened", "version": 1, "factor": 0.5}
    plain, treated = ({(m.task, m.metric): m for m in of[name].scores.metrics} for name in ("none", "softened"))
    perplexity = "facts", "log_perplexity"
    assert treated[perplexity].value != plain[perplexity].value
    assert treated[perplexity].dense_value == plain[perplexity].dense_value
    assert any(treated[of].value != plain[of].value for of in plain if plain[of].response == "accuracy")
    assert of["none"].provenance.stores["downstream"] != of["softened"].provenance.stores["downstream"]
