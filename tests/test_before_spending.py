"""What cannot be done shows before anything is spent on it, in a sentence; what only some blocks forbid is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from deprune.core.memory import Memory
from deprune.downstream.choices import MultipleChoice
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model import trials
from deprune.model.pruned import PrunedModel
from deprune.model.source import EMBEDDED_FOLDER
from deprune.record.schema import RunRecord
from deprune.record.store import read_record
from tests.conftest import Command
from tests.model.test_rehearsal import GEMMA4, made

SMALL = ["tracking=none", "calib.n_samples=2", "calib.seq_len=16"]
SOME = ["eval.tasks=[mini_one_hop]", "eval.corpora=[]", "eval.limit=3", "search=oneshot", "budget=1"]


def small(folder: Path, calib: str = "narratives") -> list[str]:
    """The overrides of a small sweep; every test has a model of its own."""
    return [*SMALL, "model=hub", f"model.path={folder / 'm'}", "model.name=m", f"calib={calib}"]


def tiny_llama(folder: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED_FOLDER / "tiny_llama", folder / "m"))


def change(file: Path, **settings: Any) -> None:
    """Changes settings of a JSON file; None takes one away."""
    content = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def saved(folder: Path, kind: str, **settings: Any) -> None:
    made(kind, **settings, bos_token_id=0, eos_token_id=0).save_pretrained(folder / "m")
    AutoTokenizer.from_pretrained(EMBEDDED_FOLDER / "tiny_llama").save_pretrained(folder / "m")


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subsets whose losses were asked for."""
    subsets: list[str] = []
    evaluate = SubsetEvaluator.evaluate
    monkeypatch.setattr(
        SubsetEvaluator,
        "evaluate",
        lambda self, asked, n=None: subsets.extend(s.bits() for s in asked) or evaluate(self, asked, n),
    )
    return subsets


def the_record(folder: Path) -> RunRecord:
    (path,) = folder.rglob("record.json")
    return read_record(path)


@pytest.mark.slow
def test_blocks_that_the_model_forbids_are_no_choice(
    run_here: Command, tmp_path: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named in one line and in the record, and planned with; the second time nobody tries them again."""
    saved(tmp_path, "gemma4_text", **GEMMA4 | {"vocab_size": 1024, "vocab_size_per_layer_input": 1024})
    job = [*small(tmp_path), "eval=none"]
    assert "more than the 6" not in run_here("plan", *job, "budget=7").out
    evaluated.clear()  # what a plan counts
    result = run_here("sweep", *job, "search=oneshot", "budget=1")
    assert result.code == 0, result.err
    line = "These blocks of m stay in every subset: 2 (needed by others: KeyError: 'sliding_attention' is missing"
    assert result.err.count(line) == 1
    record = the_record(tmp_path)
    assert record.removal.fixed == (2, 3)
    assert line in record.provenance.warnings[0]
    assert {bits.index("1") for bits in evaluated if "1" in bits} == {0, 1, 4, 5, 6, 7}

    monkeypatch.setattr(trials, "dependent", None)
    assert run_here("sweep", *job, "search=greedy", "budget=2").code == 0
    sentence = "The budget of 7 blocks is more than the 6 that may be removed; lower it. These blocks of m stay"
    for command in ("sweep", "plan"):
        refused = run_here(command, *job, "budget=7")
        assert refused.code == 1
        assert sentence in " ".join((refused.out + refused.err).split())


@pytest.mark.slow
def test_a_model_that_cannot_be_built_without_a_block_keeps_it(sweep_here: Command, tmp_path: Path) -> None:
    saved(tmp_path, "rwkv", vocab_size=1024, hidden_size=32, num_hidden_layers=3, context_length=64)
    result = sweep_here(*small(tmp_path), *SOME)
    assert result.code == 0, result.err
    assert "These blocks of m stay in every subset: 0 (cannot be taken out: AttributeError" in result.err
    assert the_record(tmp_path).removal.fixed == (0,)


def test_a_model_of_which_nothing_can_be_built_is_searched_without_tasks(
    sweep_here: Command, tmp_path: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(tmp_path)

    def broken(*_: object) -> None:
        raise KeyError("num_hidden_layers")

    monkeypatch.setattr(trials, "blocks_removed", broken)
    result = sweep_here(*small(tmp_path), *SOME)
    assert result.code == 1
    assert result.err.startswith("Error: No block of m can be taken out for good, as tasks need it: 0, 1, 2, 3, 4, 5,")
    assert (
        "KeyError: 'num_hidden_layers' is missing or unknown); search without them, with eval.tasks=[]." in result.err
    )
    assert evaluated == []
    assert sweep_here(*small(tmp_path), *SOME, "eval.tasks=[]").code == 0


def test_what_a_scorer_cannot_do_shows_on_few_items(
    sweep_here: Command, tmp_path: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that its library says is in the sentence, and with its score on disk nothing is tried again."""
    tiny_llama(tmp_path)
    limits: list[int | None] = []
    score, fails = MultipleChoice.score, True

    def noted(self: MultipleChoice, task: str, models: Sequence[PrunedModel], memory: Memory) -> Any:
        limits.append(self.limit)
        if fails and any(pruned.subset.removed for pruned in models):
            raise ValueError("A long story,\n  with its reason at the end.")
        return score(self, task, models, memory)

    monkeypatch.setattr(MultipleChoice, "score", noted)
    result = sweep_here(*small(tmp_path), *SOME)
    assert result.code == 1
    reason = "(ValueError: A long story, with its reason at the end); take it out of eval."
    assert result.err == f"Error: The scorer choices cannot score mini_one_hop on m {reason}\n"
    assert evaluated == []
    fails = False
    assert sweep_here(*small(tmp_path), *SOME, "retry_failed=true").code == 0
    limits.clear()
    assert sweep_here(*small(tmp_path), *SOME, "search=last").code == 0
    assert set(limits) <= {3}


def test_numbers_that_are_none_show_before_tasks_and_search(
    sweep_here: Command, tmp_path: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_llama(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.3.mlp.up_proj.weight"][5, 7] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = sweep_here(*small(tmp_path), *SOME)
    assert result.code == 1
    assert "not finite" in result.err
    assert {*evaluated} <= {"0" * 12}


@pytest.fixture
def with_extra_token(tmp_path: Path) -> Path:
    """A model whose tokenizer knows a token more than its embedding has rows."""
    folder = tiny_llama(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": 1024, "content": "<extra>", **plain})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_token_without_a_row_is_named(
    sweep_here: Command, tmp_path: Path, with_extra_token: Path, evaluated: list[str]
) -> None:
    text = " ".join(f"The fox number {i} went <extra> to the barn." for i in range(80))
    (tmp_path / "t.txt").write_text(text)
    result = sweep_here(*small(tmp_path, "local"), "calib.path=t.txt", "eval=none")
    assert result.code == 1
    assert "The token '<extra>' (1024) in the calibration data" in result.err
    assert "has no row in the embedding of m, which has 1024; take other data." in result.err
    assert evaluated == []


@pytest.mark.slow
def test_random_tokens_have_rows(sweep_here: Command, tmp_path: Path, with_extra_token: Path) -> None:
    """So that the draw is the one that it would be without the token."""
    job = ["calib=random_tokens", "calib.n_samples=64", "calib.seq_len=128", "eval=none", "search=last", "budget=1"]
    for model in (["model=hub", f"model.path={with_extra_token}"], ["model=tiny_llama"]):
        result = sweep_here(*model, "model.name=m", "tracking=none", *job)
        assert result.code == 0, result.err
    one, other = (read_record(path).draw.token_hash for path in tmp_path.rglob("record.json"))
    assert one == other
