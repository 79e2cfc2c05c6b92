"""No code of strangers, no secrets in what is written, no names that leave the results folder."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deprune.core.redaction import RedactingFormatter, redact
from deprune.model.source import EMBEDDED_FOLDER
from deprune.record.store import ResultStore
from tests.conftest import Command

TINY = ["search=oneshot", "budget=1", "calib.n_samples=2", "calib.seq_len=16", "eval=none", "tracking=none"]
SECRETS = {
    "HF_TOKEN": "hf_thisIsNoRealToken", "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/notReal", "MY_PASSWORD": "correct horse",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of an embedded model, under a name of its own: this process remembers what it read of models."""
    return Path(shutil.copytree(EMBEDDED_FOLDER / "tiny_llama", tmp_path / tmp_path.name))


def test_pickled_weights_are_refused(sweep_here: Command, model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    result = sweep_here("model=hub", f"model.path={model.name}", *TINY)
    assert result.code == 1
    assert "they must be safetensors, for pickled ones can run code" in result.err


def test_code_of_a_model_runs_only_when_asked_for(sweep_here: Command, model: Path, tmp_path: Path) -> None:
    settings = json.loads((model / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (model / "config.json").write_text(json.dumps(settings))
    (model / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    result = sweep_here("model=hub", f"model.path={model.name}", *TINY)
    assert result.code == 1
    assert f"The model {model.name} runs Python code from its repository; read that code, then allow it" in result.err
    assert not (tmp_path / "ran").exists()
    assert sweep_here("model=hub", f"model.path={model.name}", "model.trust_remote_code=true", *TINY).code == 0
    assert (tmp_path / "ran").exists()


def test_secrets_are_named_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_TOKEN_PART", SECRETS["HF_TOKEN"][:10])
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "no secret")
    text = f"abc no secret {' '.join(SECRETS.values())}"
    assert redact(text) == "abc no secret <HF_TOKEN> <WANDB_API_KEY> <AWS_SECRET_ACCESS_KEY> <MY_PASSWORD>"
    try:
        raise ValueError(SECRETS["HF_TOKEN"])
    except ValueError as error:
        record = logging.LogRecord("a", 10, "b", 1, "%s", (text,), (ValueError, error, error.__traceback__))
    line = RedactingFormatter().format(record)
    assert "Traceback" in line
    assert not any(secret in line for secret in SECRETS.values())


@pytest.mark.slow
def test_secrets_reach_no_file_and_no_output(sweep: Command, tmp_path: Path) -> None:
    wrong = ["calib=local", "calib.path=${oc.env:HF_TOKEN}"]
    environment = SECRETS | {"WANDB_MODE": "offline"}
    job = [override for override in TINY if override != "tracking=none"]
    results = [sweep(*options, *job, env=environment) for options in ((), wrong, ("-m", *wrong))]
    assert [result.code for result in results] == [0, 1, 1]
    assert "There is no file <HF_TOKEN>" in results[1].err
    printed = [text for result in results for text in (result.out, result.err)]
    assert list(tmp_path.glob("results/wandb/offline-run-*"))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for name, secret in SECRETS.items():
        assert not any(secret in text for text in printed), name
        assert not any(secret.encode() in content for content in files), name


def test_names_stay_inside_the_results(sweep_here: Command, tmp_path: Path) -> None:
    workplace = tmp_path / "a" / "b" / "c"
    workplace.mkdir(parents=True)
    names = ["model.name=../../../../up", "calib.name=../../up", f"results_dir={workplace / 'results'}"]
    assert sweep_here(*TINY, *names, "eval.tasks=[mini_one_hop]", "eval.limit=2").code == 0
    assert len(list(workplace.rglob("record.json"))) == 1
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and workplace / "results" not in p.parents]
    assert outside == []


def test_a_run_id_cannot_leave_the_results(tmp_path: Path) -> None:
    (tmp_path / "results" / "runs").mkdir(parents=True)
    (tmp_path / "record.json").write_text("{}")
    assert ResultStore(tmp_path / "results").get("../..") is None
