"""What a sweep needs is fetched from a local Hub; then the sweep runs with the Hub stopped."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deprune.core.errors import UnsupportedModelError
from deprune.model.source import ModelConfig
from deprune.planning.needs import weights_of
from tests.conftest import SHARED, Command

Hub = Callable[..., str]

NOWHERE = "http://127.0.0.1:9"
STORIES = "tinystories/tinystories-instruct-3m-chat-gptneo-8L"
GRID = ["-m", "model=hub", f"model.path={STORIES}", "calib=c4,commonsense170k", "search=last", "budget=1"]
GRID += ["calib.n_samples=2", "calib.seq_len=200", "tracking=none", "eval.limit=5", "eval.windows=1"]
GRID += ["eval.tasks=[winogrande]", "eval.corpora=[wikitext2]"]


@pytest.mark.slow
def test_a_sweep_runs_without_the_hub_after_prefetch(sweep: Command, hub: Hub, tmp_path: Path) -> None:
    address = hub()
    fetched = sweep(*GRID, command="prefetch", env={"HF_ENDPOINT": address})
    assert fetched.code == 0, fetched.err
    model = SHARED / "hub/models" / STORIES
    n_bytes = sum(path.stat().st_size for path in model.iterdir())
    assert f"model {STORIES}: 4 files, {n_bytes / 1e6:.1f} MB" in fetched.out
    c4 = (SHARED / "hub/datasets/allenai/c4/en/c4-train.00000-of-01024.json.gz").stat().st_size
    assert f"data set allenai/c4 en/c4-train.00000-of-01024.json.gz: 1 files, {c4 / 1e6:.1f} MB" in fetched.out
    assert fetched.out.count("data set Salesforce/wikitext wikitext-2-raw-v1: 3 files") == 1
    assert "c4-validation" not in fetched.out
    assert not list(tmp_path.rglob("results"))
    exported = dict(re.findall(r"export (\w+)=(\S+)", fetched.out))
    assert exported == {"HF_HOME": str(tmp_path / "home" / "hf"), "HF_HUB_OFFLINE": "1"}
    result = sweep(*GRID, env=exported | {"HF_ENDPOINT": NOWHERE})
    assert result.code == 0, result.err
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert sorted(r["factors"]["calib_dataset"] for r in records) == ["c4", "commonsense170k"]
    again = sweep(*GRID, command="prefetch", env={"HF_ENDPOINT": address})
    assert "To fetch: 0 bytes;" in again.out


def test_embedded_jobs_need_nothing(run_here: Command) -> None:
    result = run_here("prefetch", "-m", "calib=narratives,mini_items", "tracking=none")
    assert result.code == 0, result.err
    assert "To fetch: 0 bytes; 0 bytes of 0 bytes are here already." in result.out


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["calib=c4"], "does not answer, and what is to be fetched must come from it"),
        (["calib=c44"], "There is no calib 'c44'; did you mean c4"),
        (["calib.n_samples=0"], "value of 'calib.n_samples' is 0, but must be at least 1"),
    ],
)
def test_mistakes(overrides: list[str], sentence: str, run_here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deprune.data.hub._answers", lambda endpoint: False)
    result = run_here("prefetch", "-m", *overrides)
    assert result.code == 1
    assert sentence in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.slow
def test_gated_data_is_said_to_be(hub: Hub, sweep: Command) -> None:
    result = sweep("-m", "calib=c4", command="prefetch", env={"HF_ENDPOINT": hub("--gated", "allenai/c4")})
    assert result.code == 1
    assert "The data set allenai/c4 cannot be had: it is gated" in result.err


def test_only_the_safetensors_that_transformers_takes_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repositories hold the same weights several times, and pickled; the index says which are parts, by any name."""
    parts = ["b.safetensors", "model.safetensors-00001-of-00002.safetensors", "more/a.safetensors"]
    others = ["consolidated.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin", "tf_model.h5"]
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {f"w{i}": part for i, part in enumerate(parts * 2)}}))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(index))
    model = ModelConfig(path="some/model")
    assert weights_of(model, [*others, index.name, *parts]) == parts
    assert weights_of(model, [*others, index.name, *parts, "model.safetensors"]) == ["model.safetensors"]
    with pytest.raises(UnsupportedModelError, match=r"names 1 of 3 files that it lacks .more/a.safetensors."):
        weights_of(model, [*others, index.name, *parts[:2]])
    with pytest.raises(UnsupportedModelError, match="holds no safetensors weights"):
        weights_of(model, others)
