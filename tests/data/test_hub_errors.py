"""What the real clients of the Hub raise becomes the true reason, and without a network the same data or none."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import httpx2
import pytest
from datasets.arrow_writer import ArrowWriter
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import hf_raise_for_status

from deprune.core.errors import DataError, DepruneError
from deprune.data.hub import DataSet, data_errors, hub_errors, require_hub, rows_of

OLD, NEW = "a" * 40, "b" * 40

ANSWERS = [
    (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "does not accept the token"),
    (401, {}, "there is no such public repository"),
    (401, {"X-Error-Code": "RepoNotFound"}, "there is no such public repository"),
    (403, {"X-Error-Code": "GatedRepo"}, "it is gated"),
    (403, {}, "does not allow it with this token"),
    (403, {"X-Error-Message": "Access to this resource is disabled."}, "the Hub has disabled its repository"),
    (404, {"X-Error-Code": "RepoNotFound"}, "there is no such public repository"),
    (404, {"X-Error-Code": "RevisionNotFound"}, "there is no such revision"),
    (404, {"X-Error-Code": "EntryNotFound"}, "its repository lacks a file"),
    (410, {}, "the Hub answers 410"),
    (429, {}, "the Hub refuses further requests for now (429)"),
    (429, {"Retry-After": "1"}, "the Hub refuses further requests for now (429)"),
    (451, {}, "for legal reasons (451)"),
    (500, {}, "the Hub fails for now (500)"),
    (503, {}, "the Hub fails for now (503)"),
]  # fmt: skip


def refusal(error: Callable[[], object]) -> str:
    with pytest.raises(DataError) as refused, hub_errors("model org/m"):
        error()
    assert str(refused.value).startswith("The model org/m cannot be had: ")
    return str(refused.value)


@pytest.mark.parametrize(("status", "headers", "reason"), ANSWERS)
def test_answers_are_told_apart(status: int, headers: dict[str, str], reason: str) -> None:
    request = httpx2.Request("HEAD", "https://huggingface.co/api/models/org/m")

    def answer() -> None:
        hf_raise_for_status(httpx2.Response(status, headers=headers, request=request))

    def answer_to_a_file() -> None:
        """As `hf_hub_download` puts it, and `datasets` alike."""
        try:
            answer()
        except Exception as error:
            raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub") from error

    assert reason in refusal(answer)
    assert reason in refusal(answer_to_a_file)


@pytest.mark.parametrize(
    "kind", [httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError, ConnectionResetError]
)
def test_no_answer(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)

    def silence() -> None:
        raise kind("it is dark")

    assert "cannot be had: the connection to the Hub failed; connect this machine" in refusal(silence)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert "HF_DATASETS_OFFLINE is set and it is not in the local cache" in refusal(silence)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written(number: int) -> None:
    def lock() -> None:
        raise OSError(number, os.strerror(number), str(Path(constants.HF_HOME) / "hub" / "x.lock"))

    said = refusal(lock)
    assert f"HF_HOME={constants.HF_HOME} cannot be written ({os.strerror(number)})" in said
    assert "results_dir" not in said
    with pytest.raises(OSError, match="elsewhere"), hub_errors("model m"):
        raise OSError(number, os.strerror(number), "elsewhere")


def test_an_address_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "localhost:8080")
    with pytest.raises(DataError, match="'localhost:8080', is no address; begin it with https://"):
        require_hub("the model", "another")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes an offline cache; gives a function that puts a data set there as `datasets` does."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, config: str, commit: str, card: str = "", ref: str = "main") -> None:
        folder = tmp_path / "datasets" / f"me___{name}" / config / "0.0.0" / commit
        folder.mkdir(parents=True)
        table = datasets.Dataset.from_dict({"text": [f"{config} {commit}"]})
        with ArrowWriter(path=str(folder / f"{name}-train.arrow"), features=table.features) as writer:
            writer.write_table(table.data.table)
            n_examples, n_bytes = writer.finalize()
        split = {"name": "train", "num_bytes": n_bytes, "num_examples": n_examples, "dataset_name": name}
        info = {
            "features": {"text": {"dtype": "string", "_type": "Value"}}, "builder_name": "parquet",
            "dataset_name": name, "config_name": config, "version": "0.0.0", "splits": {"train": split},
        }  # fmt: skip
        (folder / "dataset_info.json").write_text(json.dumps(info))
        repository = tmp_path / "hub" / f"datasets--me--{name}"
        for file, text in ((f"snapshots/{commit}/README.md", card), (f"refs/{ref}", commit)):
            (repository / file).parent.mkdir(parents=True, exist_ok=True)
            (repository / file).write_text(text)

    return put


def texts(name: str, config: str | None = None, revision: str | None = None, split: str = "train") -> list[str]:
    with data_errors(f"data set me/{name}"):
        return list(rows_of(DataSet(path=f"me/{name}", config=config, revision=revision), split)["text"])


def card_of(*configs: str, default: str = "") -> str:
    entries = [
        {"config_name": c, "data_files": f"{c}/*"} | ({"default": True} if c == default else {}) for c in configs
    ]
    return f"---\nconfigs: {json.dumps(entries)}\n---\n"


def test_offline_takes_the_configuration_that_online_would(cache: Callable[..., None]) -> None:
    cache("two", "second", NEW, card_of("first", "second"))
    assert texts("two", "second") == [f"second {NEW}"]
    with pytest.raises(DepruneError, match="has the configurations first, second, and none was named"):
        texts("two")
    with pytest.raises(
        DepruneError, match=r"HF_HUB_OFFLINE is set and it is not in the local cache, in its configuration 'first'"
    ):
        texts("two", "first")
    with pytest.raises(DepruneError, match="it has no split 'test'; it has train"):
        texts("two", "second", split="test")
    cache("named", "second", NEW, card_of("first", "second", default="second"))
    assert texts("named") == [f"second {NEW}"]
    cache("other", "first", NEW, card_of("first", "second", default="second"))
    with pytest.raises(
        DepruneError, match=r"HF_HUB_OFFLINE is set and it is not in the local cache, in its configuration 'second'"
    ):
        texts("other")
    cache("plain", "default", NEW)
    assert texts("plain") == [f"default {NEW}"]
    cache("one", "only", NEW, card_of("only"))
    assert texts("one") == ["only " + NEW]


def test_offline_takes_the_revision_that_online_would(cache: Callable[..., None], tmp_path: Path) -> None:
    cache("text", "default", NEW)
    cache("text", "default", OLD, ref="v1")  # put there last, and so what `datasets` would take for any revision
    assert texts("text") == texts("text", revision="main") == texts("text", revision=NEW) == [f"default {NEW}"]
    assert texts("text", revision="v1") == texts("text", revision=OLD) == [f"default {OLD}"]
    for revision in ("v2", "c" * 40):
        with pytest.raises(DepruneError, match=f"not in the local cache, in its revision {revision}"):
            texts("text", revision=revision)
    (tmp_path / "hub/datasets--me--text/refs/main").unlink()  # as caches of older clients may lack it
    assert texts("text") == [f"default {OLD}"]
