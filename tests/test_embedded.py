"""The embedded corpora and tasks are what they were, and the models are fit to be studied."""

import collections
import dataclasses
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.downstream.choices import MultipleChoice
from deprune.downstream.scoring import score_models
from deprune.embedded.documents import CORPORA, documents
from deprune.embedded.task_items import N_ITEMS, WRITERS, items, load
from deprune.embedded.world import COUNTRIES, RELATIONS
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel
from deprune.model.pruned import PrunedModel
from deprune.model.source import EMBEDDED_FOLDER
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem
from deprune.search.greedy import Greedy
from tests.conftest import FAMILIES

# A change here changes what records mean: raise the versions in `tasks/` and in the corpora's names.
FINGERPRINTS = {
    "narratives": "08343830e888b0d4",
    "facts": "fbc1d9ae008bd199",
    "arithmetic": "2d4fdacb0bc9aae5",
    "procedures": "7363c63d438edb4d",
    "mixture": "349605feaffc86b2",
    "mini_continuation": "763f36f4766f254b",
    "mini_reference": "f826a8da38a402ef",
    "mini_one_hop": "4ec738fc58fbc99a",
    "mini_two_hop": "b2f07a1e896cafe9",
    "mini_procedure": "e49f909cd5b42288",
    "mini_boolean": "f33f365a225d41e9",
}


def fingerprint(name: str) -> str:
    if name in WRITERS:
        return digest_of(load(name))
    return digest_of(list(islice(documents(name, "calibration"), 200)))


@pytest.mark.parametrize("name", [*CORPORA, *WRITERS])
def test_texts_and_items_are_what_they_were(name: str) -> None:
    assert fingerprint(name) == FINGERPRINTS[name]


@pytest.mark.parametrize("task", WRITERS)
def test_items_are_many_distinct_balanced_and_split(task: str) -> None:
    rows = load(task)
    assert N_ITEMS["test"] >= 300
    keys = {split: {repr((r["context"], sorted(r["choices"]))) for r in rows[split]} for split in rows}
    assert all(len(keys[split]) == N_ITEMS[split] for split in rows)
    assert not keys["train"] & keys["test"]
    for row in rows["test"]:
        assert len(set(row["choices"])) == len(row["choices"])
    answers = collections.Counter(r["answer"] for r in rows["test"])
    n_choices = len(rows["test"][0]["choices"])
    for count in answers.values():
        assert abs(count / 300 - 1 / n_choices) < 0.1


def test_items_agree_with_the_world() -> None:
    by_value = {
        (r.name, facts[r.name]): country for country, facts in COUNTRIES.items() for r in RELATIONS if r.description
    }
    for item in islice(items("mini_two_hop", "test"), 100):
        country = next(c for (name, value), c in by_value.items() if value in item.context)
        assert item.choices[item.answer] in COUNTRIES[country].values()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_small(family: str) -> None:
    assert (EMBEDDED_FOLDER / family / "model.safetensors").stat().st_size <= 4_000_000


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_quarter_of_the_blocks_costs_accuracy_but_not_all(
    family: str, embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """Dense at least 80 %; greedy at a quarter clearly between chance (37.5 %) and dense, on the same items."""
    loaded = embedded(family)
    calib = CalibConfig(name="mixture", corpus=EmbeddedCorpus(corpus="mixture"), n_samples=32, seq_len=128, seed=0)
    calibration = draw_windows(calib, 128, loaded.tokenizer, family)
    evaluator = SubsetEvaluator(
        loaded.stacks, calibration, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(tmp_path)
    )
    space = SearchSpace(loaded.stack.n_blocks, loaded.stack.n_blocks // 4)
    found = Greedy().run(Problem(space, evaluator), np.random.default_rng()).subset
    models = [PrunedModel(loaded, subset) for subset in (BlockSubset(space.n_blocks), found)]
    scored = score_models(models, {"choices": MultipleChoice(tasks=tuple(WRITERS))}, tmp_path, Memory())
    dense, pruned = ([row.items for row in rows["choices"] if row.response == "accuracy"] for rows in scored)
    accuracy = [fmean(map(fmean, model)) for model in (dense, pruned)]
    assert accuracy[0] >= 0.80
    assert accuracy[1] > 0.375 + 0.1
    pairs = collections.Counter(zip(chain(*dense), chain(*pruned), strict=True))
    lost, gained = pairs[1, 0], pairs[0, 1]
    assert (lost - gained) / (lost + gained) ** 0.5 > 3  # McNemar: three standard errors


def test_the_requests_of_a_task_become_tokens_once_for_all_pruned_models(
    embedded: Callable[[str], LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = dataclasses.replace(embedded("tiny_llama"), memory=Memory())
    encode, texts = loaded.tokenizer.encode, list[str]()
    monkeypatch.setattr(loaded.tokenizer, "encode", lambda text, **kwargs: texts.append(text) or encode(text, **kwargs))
    scorers, memory, n_texts = {"choices": MultipleChoice(tasks=("mini_one_hop",), limit=7)}, Memory(), []
    for removed in ((), (3,), (4, 5)):
        pruned = PrunedModel(loaded, BlockSubset.of(loaded.stack.n_blocks, removed))
        score_models([pruned], scorers, tmp_path, memory)
        n_texts.append(len(texts))
    assert n_texts[0] == n_texts[1] == n_texts[2] == len(set(texts)) > 7
