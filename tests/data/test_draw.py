"""Draws are nested, independent, and complete; too short a corpus is refused."""

from pathlib import Path

import pytest
import torch

from deprune.core.errors import DataError
from deprune.data.corpora import EmbeddedCorpus, LocalCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.data.samples import CalibrationSet
from deprune.model.source import ModelConfig, load_tokenizer

TOKENIZER = load_tokenizer(ModelConfig(path="deprune:tiny_llama"))


def draw(
    corpus: str = "facts", *, n: int = 8, length: int = 64, seed: int = 0, model: str = "a", documents: int = 4000
) -> CalibrationSet:
    source = EmbeddedCorpus(corpus=corpus, n_documents=documents)
    calib = CalibConfig(name=corpus, corpus=source, n_samples=n, seq_len=length, seed=seed)
    return draw_windows(calib, length, TOKENIZER, model)


def test_samples_are_nested() -> None:
    few, many = draw(n=5), draw(n=12)
    assert torch.equal(many.ids_RT[:5], few.ids_RT)
    assert few.sample_id == many.sample_id
    assert few.token_hash != many.token_hash


def test_a_draw_keeps_its_identity_at_every_length() -> None:
    short, long = draw(length=32, n=16), draw(length=64, n=8)
    assert short.sample_id == long.sample_id
    assert torch.equal(short.ids_RT[0], long.ids_RT[0, :32])


def test_draws_differ_by_corpus_seed_and_model() -> None:
    draws = [draw(), draw(seed=1), draw(model="b"), draw(corpus="mixture")]
    assert len({d.sample_id for d in draws}) == len({d.token_hash for d in draws}) == 4


def test_windows_are_the_documents_in_drawn_order() -> None:
    documents = EmbeddedCorpus(corpus="facts").documents()
    for ids in draw(n=5, length=256).ids_RT:
        *whole, rest = [part.strip() for part in TOKENIZER.decode(ids).split("<|endoftext|>")]
        assert whole
        assert all(part in documents for part in whole)
        assert any(document.startswith(rest) for document in documents)


def test_a_long_document_fills_several_windows(tmp_path: Path) -> None:
    text = " ".join(str(number) for number in range(100))
    (tmp_path / "long.txt").write_text(text)
    calib = CalibConfig(
        name="long", corpus=LocalCorpus(path=str(tmp_path / "long.txt")), n_samples=6, seq_len=16, seed=0
    )
    ids = draw_windows(calib, 16, TOKENIZER, "a").ids_RT.flatten()
    assert TOKENIZER.encode(text)[: len(ids)] == ids.tolist()


def test_too_short_a_corpus_says_how_many_windows_there_are() -> None:
    with pytest.raises(DataError, match=r"holds (\d+) windows of 64 tokens.*at most \1,") as caught:
        draw(n=1000, documents=20)
    held = int(str(caught.value).split("holds ")[1].split()[0])
    assert draw(n=held, documents=20).ids_RT.shape == (held, 64)
    with pytest.raises(DataError, match=f"holds {held} windows"):
        draw(n=held + 1, documents=20)


def test_windows_start_with_the_tokenizers_start_token() -> None:
    class WithStart:
        bos_token_id, eos_token_id = 7, 0

        def encode(self, text: str, add_special_tokens: bool = True, **_: object) -> list[int]:
            plain: list[int] = TOKENIZER.encode(text)
            return [7, *plain] if add_special_tokens else plain

    calib = CalibConfig(name="facts", corpus=EmbeddedCorpus(corpus="facts"), n_samples=4, seq_len=16, seed=0)
    with_start = draw_windows(calib, 16, WithStart(), "a").ids_RT  # type: ignore[arg-type]
    assert (with_start[:, 0] == 7).all()
    assert torch.equal(with_start[0, 1:], draw(n=1, length=16).ids_RT[0, :15])
