"""Exports are what the pruned model is, or are refused; nothing is overwritten or left half-written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deprune.core.subset import BlockSubset
from deprune.export import main
from deprune.model.load import LoadedModel
from deprune.model.source import EMBEDDED_FOLDER
from deprune.record.store import read_record
from tests.conftest import Command
from tests.model.architectures import ARCHITECTURES, make_model

IDS = torch.arange(1, 17).view(2, 8)


@pytest.fixture
def export(
    sweep_here: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs `python -m deprune.export` in this process; gives what it printed."""

    def run(*overrides: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["deprune.export", *overrides])
        capfd.readouterr()
        try:
            main()
            left: int | str | None = 0
        except SystemExit as exit_:
            left = exit_.code
        printed = capfd.readouterr()
        assert left == code, printed.err
        return printed.out + printed.err

    return run


def test_export_of_a_run(
    sweep_here: Command, export: Callable[..., str], embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    assert sweep_here("budget=2", "calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "tracking=none").code == 0
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert "Written and checked: pruned" in export(f"run={record.run_id}", "out=pruned")
    model = AutoModelForCausalLM.from_pretrained("pruned", dtype=torch.float32)
    assert model.config.num_hidden_layers == 10
    expected = embedded("tiny_llama").stack.run(IDS, BlockSubset.of(12, record.removal.order))
    torch.testing.assert_close(model(IDS, use_cache=False).logits, expected, rtol=0, atol=1e-4)
    assert AutoTokenizer.from_pretrained("pruned").encode("Anna") == AutoTokenizer.from_pretrained(
        EMBEDDED_FOLDER / "tiny_llama"
    ).encode("Anna")
    card = (tmp_path / "pruned" / "README.md").read_text()
    assert f"Removed blocks (0-based): {', '.join(map(str, sorted(record.removal.order)))}." in card
    assert "Chosen by `greedy`" in card
    assert f"| mini_one_hop | acc | {record.scores.metrics[4].dense_value:.4f} |" in card
    assert str(tmp_path) not in card

    assert "The folder pruned exists" in export(f"run={record.run_id}", "out=pruned", code=1)


def test_export_by_hand(export: Callable[..., str], tmp_path: Path) -> None:
    export("model=tiny_qwen3", "subset=[5,3]", "out=deep/er/pruned")
    config = AutoConfig.from_pretrained(tmp_path / "deep/er/pruned")
    assert config.num_hidden_layers == len(config.layer_types) == 10


def test_mistakes_are_sentences_and_leave_nothing(export: Callable[..., str], tmp_path: Path) -> None:
    for overrides, sentence in {
        ("run=nothing", "out=x"): "There is no record of run 'nothing'",
        ("subset=[1]", "out=x"): "Nothing says which model",
        ("model=tiny_llama", "out=x"): "Nothing says which blocks",
        ("model=tiny_llama", "subset=[12]", "out=x"): "must be distinct and lie in 0..11",
        ("model=tiny_llama", "subset=[1]"): "The key 'out' needs a value",
    }.items():
        printed = export(*overrides, code=1)
        assert printed.startswith("Error: ")
        assert sentence in printed
        assert len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_blocks_that_depend_on_their_index_are_refused(
    export: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "diffllama", ARCHITECTURES["llama"])
    make_model("diffllama").save_pretrained(tmp_path / "dense")
    AutoTokenizer.from_pretrained(EMBEDDED_FOLDER / "tiny_llama").save_pretrained(tmp_path / "dense")
    printed = export("model=hub", "model.path=dense", "subset=[0,1]", "out=pruned", code=1)
    assert "its blocks depend on their index" in printed
    assert [p.name for p in tmp_path.iterdir()] == ["dense"]
