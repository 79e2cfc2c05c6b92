"""The examples of plug-ins in the documentation run as they stand, from a user's folder: one file and one YAML each."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from deprune.core.build import build_target
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data.samples import CalibrationSet
from deprune.downstream.base import Score, Scorer
from deprune.downstream.choices import MultipleChoice
from deprune.downstream.efficiency import Efficiency
from deprune.downstream.perplexity import Perplexity
from deprune.model.pruned import PrunedModel
from deprune.objective.base import Objective
from deprune.record import RunRecord, read_record
from deprune.testing import check_objective, check_scorer, check_treatment
from deprune.treat.base import Treatment
from deprune.treat.none import NoTreatment
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


CONTRACTS = {
    "objective": (Objective, check_objective),
    "downstream": (Scorer, check_scorer),
    "treat": (Treatment, check_treatment),
}


@pytest.mark.parametrize("page", CONTRACTS)
def test_the_examples_keep_the_contract(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, check = CONTRACTS[page]
    folder = written(page, "yaml", tmp_path)
    monkeypatch.syspath_prepend(folder)
    (yaml,) = (folder / "yaml").iterdir()
    node = OmegaConf.load(yaml)
    check(build_target(node.scorers[yaml.stem] if "scorers" in node else node, protocol, page))


SCORERS = (
    MultipleChoice(tasks=("mini_boolean", "mini_reference"), limit=8),
    Perplexity(corpora=("facts", "narratives"), windows=2),
    Efficiency(),
)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: type(scorer).__name__)
def test_the_contract_of_the_scorers(scorer: Scorer) -> None:
    check_scorer(scorer)


def test_the_contract_of_no_treatment() -> None:
    check_treatment(NoTreatment())


@dataclass(frozen=True, kw_only=True)
class Careless(Treatment):
    """Changes weights as it is told to."""

    what: str

    def apply(self, pruned: PrunedModel, samples: CalibrationSet, rng: np.random.Generator) -> PrunedModel:
        treated = pruned if self.what == "dense" else pruned.with_own_weights()
        with torch.no_grad():
            for weights in treated.loaded.stack.model.parameters():
                weights.add_(1e-3 * (np.random.rand() if self.what == "global" else rng.random()))
        if self.what == "subset":
            return replace(treated, subset=BlockSubset(treated.subset.n_blocks))
        return treated


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("dense", "must change a copy"), ("global", "the whole process shares"), ("subset", "which blocks are removed")],
)
def test_the_contract_tells_what_a_treatment_breaks(what: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_treatment(Careless(what=what))


@dataclass(frozen=True, kw_only=True)
class Sloppy(Efficiency):
    """Returns rows with something wrong."""

    is_kept: ClassVar[bool] = True

    wrong: dict[str, Any]

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        rows = super().score(subject, models, memory)
        return [[replace(row, **self.wrong) for row in of] for of in rows]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"task": "else"}, "a row of else when"),
        ({"value": math.inf}, "is not finite"),
        ({"unit": ""}, "no unit"),
        ({"n_items": 3}, "value of every item"),
        ({"items": (1.0,), "n_items": 1}, "name its items"),
    ],
)
def test_the_contract_tells_what_a_scorer_breaks(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_scorer(Sloppy(wrong=wrong))


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


SILENT = """
from dataclasses import dataclass

from deprune.downstream.base import Scorer


@dataclass(frozen=True, kw_only=True)
class Silent(Scorer):
    def subjects(self):
        return ("anything",)

    def score(self, subject, models, memory):
        return [[] for _ in models]
"""


def test_a_scorer_that_returns_nothing_is_an_error_before_the_search(
    sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "silent.yaml").write_text("defaults: [none]\nscorers: {silent: {_target_: silent.Silent}}\n")
    (tmp_path / "silent.py").write_text(SILENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("deprune.search.oneshot.OneShot.run", lambda *_: pytest.fail("the search was begun"))
    result = sweep_here(f"hydra.searchpath=[file://{tmp_path}]", *SMALL, "eval=silent")
    assert result.code == 1
    assert "Error: The scorer silent returned no row for anything; take it out of eval." in result.err
