"""Items are read as their sources mean them, mixtures have their weights, random tokens none."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch

from deprune.core.errors import ConfigError, DataError, UnsupportedModelError
from deprune.data.corpora import EmbeddedCorpus, RandomTokens
from deprune.data.corpus import CalibConfig, Item
from deprune.data.draw import draw_items, draw_windows
from deprune.data.items import EmbeddedItems, _parse_instruction
from deprune.data.layout import tokenize_item
from deprune.data.mixture import MixtureCorpus
from deprune.data.overlap import N_TOKENS, EvaluatedText, overlap_warnings, window_hashes
from deprune.data.samples import CalibrationSet
from deprune.embedded.task_items import WRITERS
from tests.data.test_draw import TOKENIZER


@pytest.mark.parametrize(
    ("instruction", "answer", "choices", "index"),
    [
        ("Is it so?\n\nAnswer format: true/false", "false", (" true", " false"), 1),
        ("Choose.\n\nOption1: a Option2: b Answer format: option1/option2", "option1", (" option1", " option2"), 0),
    ],
)
def test_instructions_name_their_choices(instruction: str, answer: str, choices: tuple[str, ...], index: int) -> None:
    item = _parse_instruction(instruction, answer)
    assert item == Item(tuple((f"{instruction}\n\nthe correct answer is", choice) for choice in choices), index)


def test_instructions_without_a_wrong_answer_are_left_out() -> None:
    assert _parse_instruction("No format here.", "true") is None
    assert _parse_instruction("Answer format: true/false", "maybe") is None
    assert _parse_instruction("Answer format: true", "true") is None


def test_embedded_items_take_turns() -> None:
    tasks = tuple(WRITERS)
    items = EmbeddedItems(tasks=tasks, n_items=5).items()
    assert len(items) == 5 * len(tasks)
    assert [len(item.choices) for item in items[: len(tasks)]] == [4, 2, 4, 4, 2, 2]
    with pytest.raises(ConfigError, match="mini_boolean"):
        EmbeddedItems(tasks=("mini_bolean",))


def items_of(n: int, seed: int = 0, length: int = 200) -> list[Item]:
    calib = CalibConfig(name="i", corpus=EmbeddedItems(tasks=tuple(WRITERS)), n_samples=n, seq_len=length, seed=seed)
    return list(draw_items(calib, length, TOKENIZER, "a").items)


@pytest.mark.slow
def test_item_draws_are_nested_seeded_and_short_enough() -> None:
    assert items_of(5) == items_of(20)[:5]
    assert items_of(20) != items_of(20, seed=1)
    calib = CalibConfig(name="i", corpus=EmbeddedItems(tasks=tuple(WRITERS)), n_samples=9, seq_len=40, seed=0)
    assert all(tokens.n_tokens <= 40 for tokens in draw_items(calib, 40, TOKENIZER, "a").tokens)
    with pytest.raises(DataError, match="holds 0 items of at most 3 tokens"):
        items_of(1, length=3)


def test_an_item_without_context_needs_a_token_to_start_with() -> None:
    item = Item((("", " mill"), ("", " lake")), 0)
    alone = tokenize_item(item, TOKENIZER)
    assert alone is not None
    assert alone.shared == (TOKENIZER.bos_token_id,)
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(UnsupportedModelError, match=r"neither a start nor an end token .*; set eos_token"):
        tokenize_item(item, tokenizer)


def test_a_mixture_has_its_weights() -> None:
    corpora = {name: set(EmbeddedCorpus(corpus=name).documents()) for name in ("facts", "arithmetic")}
    documents = MixtureCorpus(parts=("facts", "arithmetic"), weights=(0.75, 0.25)).documents()
    counts = Counter(name for text in documents for name, known in corpora.items() if text in known)
    assert counts["facts"] == 4000  # the one that is exhausted first
    assert counts["arithmetic"] == round(4000 / 0.75 * 0.25)
    for wrong in ({"parts": ("facts",), "weights": (1.0, 1.0)}, {"parts": ("facts",), "weights": (0.0,)}):
        with pytest.raises(ConfigError, match="one weight above 0 for each part"):
            MixtureCorpus(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'fact'.*facts"):
        MixtureCorpus(parts=("fact",), weights=(1.0,)).documents()


def random_windows(n: int, seed: int = 0) -> CalibrationSet:
    calib = CalibConfig(name="random_tokens", corpus=RandomTokens(), n_samples=n, seq_len=64, seed=seed)
    return draw_windows(calib, 64, TOKENIZER, "a")


def test_random_tokens_are_uniform_nested_and_never_special() -> None:
    many = random_windows(500)
    assert torch.equal(many.ids_RT[:7], random_windows(7).ids_RT)
    assert random_windows(7).sample_id == many.sample_id != random_windows(7, seed=1).sample_id
    special = set(TOKENIZER.all_special_ids)
    counts = np.bincount(many.ids_RT.flatten().numpy(), minlength=len(TOKENIZER))
    ordinary = [count for token, count in enumerate(counts[: len(TOKENIZER)]) if token not in special]
    assert sum(ordinary) == many.ids_RT.numel()
    expected = many.ids_RT.numel() / len(ordinary)
    chi_squared = sum((count - expected) ** 2 for count in ordinary) / expected
    degrees = len(ordinary) - 1
    assert abs(chi_squared - degrees) < 5 * np.sqrt(2 * degrees)


def test_overlap_is_found_by_window_and_by_item() -> None:
    rng = np.random.default_rng(0)
    evaluated = rng.integers(0, 1000, 400)
    ids = torch.from_numpy(rng.integers(0, 1000, (4, 80)))
    item = Item((("Who?", " Ann"), ("Who?", " Bob")), 0)
    known = [EvaluatedText("a task", np.unique(window_hashes(evaluated)), frozenset({"Who? Ann"}))]
    calibration = CalibrationSet(ids, "sample", "tokens")
    assert overlap_warnings(calibration, [], known) == []
    ids[2, 10 : 10 + N_TOKENS] = torch.from_numpy(evaluated[300 : 300 + N_TOKENS])
    assert "1 of 4 calibration samples" in overlap_warnings(calibration, [], known)[0]
    ids[2, 10] += 1
    assert overlap_warnings(calibration, [], known) == [], "49 tokens are not enough"
    assert "a task" in overlap_warnings(calibration, [item], known)[0]


def test_window_hashes_tell_windows_apart() -> None:
    ids = np.random.default_rng(1).integers(0, 50_000, 20_000)
    assert len(np.unique(window_hashes(ids))) == len(ids) - N_TOKENS + 1
    assert np.array_equal(window_hashes(ids)[100:200], window_hashes(ids[100 : 200 + N_TOKENS - 1]))
    assert len(window_hashes(ids[: N_TOKENS - 1])) == 0
