"""A user's mistake gets one sentence that says what to do, an exit code, and leaves no record."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import T5Config

from deprune.model.load import EMBEDDED_FOLDER
from tests.conftest import Command

MISTAKES = {
    "budget as large as the model": (
        ["budget=12"],
        "budget of 12 blocks does not fit a model of 12 blocks; give 0 to 11",
    ),
    "negative budget": (["budget=-1"], "budget of -1 blocks does not fit"),
    "fraction above 1": (["budget=1.5"], "budget 1.5 is not a fraction between 0 and 1"),
    "budget that is a word": (["budget=few"], "value of 'budget' is 'few', but must be of type int or float"),
    "budget beyond protection": (
        ["budget=8", "search.protect_first=5"],
        "budget of 8 blocks is more than the 7 blocks that may be removed",
    ),
    "misspelt option": (["search=greddy"], "There is no search 'greddy'; did you mean greedy?"),
    "misspelt group": (["serach=greedy"], "There is no key 'serach'; did you mean search?"),
    "misspelt key": (["calib.n_sample=3"], "There is no key 'calib.n_sample'; did you mean calib.n_samples?"),
    "misspelt new key": (["+calib.n_sample=3"], "There is no key 'calib.n_sample'; did you mean calib.n_samples?"),
    "misspelt task": (
        ["eval.tasks=[mini_one_hopp]"],
        "There is no evaluation task 'mini_one_hopp'; did you mean mini_one_hop",
    ),
    "wrong type": (["calib.n_samples=2.5"], "value of 'calib.n_samples' is 2.5, but must be of type int"),
    "wrong type in a search": (["search.protect_first=few"], "value of 'search.protect_first' cannot be used"),
    "no samples": (["calib.n_samples=0"], "value of 'calib.n_samples' is 0, but must be at least 1"),
    "negative seed": (["calib.seed=-1"], "value of 'calib.seed' is -1, but must be at least 0"),
    "window above the context": (["calib.seq_len=257"], "calib.seq_len=257 is longer than the model's context of 256"),
    "corpus too short": (
        ["calib=facts", "calib.n_documents=10", "calib.n_samples=100"],
        "but calib.n_samples=100 were asked for; lower calib.n_samples to at most",
    ),
    "missing path": (["calib=local"], "The key 'calib.path' needs a value"),
    "missing file": (["calib=local", "calib.path=nothing.txt"], "There is no file nothing.txt"),
    "unknown device": (["device=tpu9"], "The device 'tpu9' is not available"),
    "unknown type": (["dtype=int8"], "The dtype 'int8' is not one of auto, float32, bfloat16, float16"),
    "no such folder": (["model=hub", "model.path=./nothing"], "neither a folder nor the name of a repository"),
    "embedded family": (["model=hub", "model.path=deprune:tiny_gpt"], "holds no config.json"),
    "plug-in of another kind": (
        ["search._target_=deprune.objective.nll.NegativeLogLikelihood"],
        "is not a Search",
    ),
    "broken override": (["search="], "search"),
}


def assert_one_sentence(command: Command, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    result = command(*overrides, "tracking=none", "eval.limit=5")
    assert result.code == 1
    assert result.err.startswith("Error: ")
    assert sentence in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert "Traceback" not in result.out + result.err
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake: str, sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deprune.hub._answers", lambda endpoint: True)
    overrides, sentence = MISTAKES[mistake]
    assert_one_sentence(sweep_here, tmp_path, overrides, sentence)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "holds no text"), (b"\x80\x81\x00", "is not UTF-8 text"), (b"a\x00b", "is binary")]
)
def test_unusable_local_file(content: bytes, sentence: str, sweep_here: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    assert_one_sentence(sweep_here, tmp_path, ["calib=local", "calib.path=text.txt"], sentence)


def test_model_that_is_not_a_decoder(sweep_here: Command, tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path / "t5")
    assert_one_sentence(sweep_here, tmp_path, ["model=hub", "model.path=t5"], "t5 model, not a decoder-only")


def test_model_folder_without_weights(sweep_here: Command, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for file in (EMBEDDED_FOLDER / "tiny_llama").glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    assert_one_sentence(sweep_here, tmp_path, ["model=hub", "model.path=empty"], "with safetensors weights")


def test_results_folder_that_cannot_be_written(sweep_here: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert_one_sentence(sweep_here, tmp_path, ["results_dir=file/results"], "choose another folder with results_dir=")


def test_weights_with_numbers_that_are_none(sweep_here: Command, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in (EMBEDDED_FOLDER / "tiny_llama").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    overrides = ["model=hub", "model.path=broken", "calib.n_samples=2", "calib.seq_len=16"]
    assert_one_sentence(sweep_here, tmp_path, overrides, "not finite")


def test_grid_goes_on_after_a_failure(sweep_here: Command, tmp_path: Path) -> None:
    result = sweep_here(
        "-m", "budget=1,12", "search=oneshot", "tracking=none", "eval=none", "calib.n_samples=2", "calib.seq_len=32"
    )
    assert result.code == 1
    assert "Jobs: 1 done, 0 found done before, 1 failed." in result.out
    assert "Error in 1 of 2 jobs: The budget of 12 blocks does not fit" in result.out
    assert " budget=12 " in result.out
    assert len(list(tmp_path.rglob("record.json"))) == 1
