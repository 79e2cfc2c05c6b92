"""A score is kept under everything that it is a function of, and a scorer owes a row for what it is asked."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deprune.core.errors import ConfigError, DepruneError
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data.tasks import load_task
from deprune.downstream.base import Score, Scorer
from deprune.downstream.choices import MOST_TASKS, MultipleChoice
from deprune.downstream.perplexity import Perplexity
from deprune.downstream.scoring import entry_of, score_models, scores_file
from deprune.model.load import LoadedModel, load_model
from deprune.model.prune import prune_blocks
from deprune.model.pruned import PrunedModel
from deprune.model.source import ModelConfig
from deprune.treat.base import Treatment
from deprune.treat.none import NoTreatment

SUBSET = BlockSubset.of(12, [3, 8])


@dataclass(frozen=True, kw_only=True)
class Weighing(Scorer):
    """The sum of all weights that are left: any change of them shows. Notes the models that it is asked for."""

    factor: float = 1.0

    def subjects(self) -> Sequence[str]:
        return ("weights",)

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        rows = []
        for pruned in models:
            WEIGHED.append(pruned)
            with pruned.module() as model:
                value = self.factor * sum(float(p.detach().double().sum()) for p in model.parameters())
            rows.append([Score(task=subject, metric="sum", response=None, value=value, stderr=None, unit="1",
                               higher_is_better=True)])  # fmt: skip
        return rows


WEIGHED: list[PrunedModel] = []


@dataclass(frozen=True, kw_only=True)
class Doubled(Treatment):
    block: int = 0

    def apply(self, pruned: PrunedModel, samples: Any, rng: np.random.Generator) -> PrunedModel:
        treated = pruned.with_own_weights()
        with torch.no_grad():
            for weights in treated.loaded.stack.blocks[self.block].parameters():
                weights.mul_(2)
        return treated


@dataclass(frozen=True, kw_only=True)
class InPlace(Treatment):
    def apply(self, pruned: PrunedModel, samples: Any, rng: np.random.Generator) -> PrunedModel:
        return pruned


@pytest.fixture
def weigh(tmp_path: Path) -> Callable[..., float]:
    WEIGHED.clear()

    def run(pruned: PrunedModel, **settings: float) -> float:
        (rows,) = score_models([pruned], {"weighing": Weighing(**settings)}, tmp_path, Memory())
        return rows["weighing"][0].value

    return run


def treated(pruned: PrunedModel, treatment: Treatment) -> PrunedModel:
    samples: Any = None
    return treatment.treated(pruned, samples, np.random.default_rng(0))


def test_a_treated_model_never_gets_the_scores_of_the_untreated_one(
    embedded: Callable[[str], LoadedModel], weigh: Callable[..., float]
) -> None:
    plain = PrunedModel(embedded("tiny_llama"), SUBSET)
    models = [plain, treated(plain, Doubled(block=0)), treated(plain, Doubled(block=1))]
    values = [weigh(model) for model in models]
    assert len(set(values)) == len(WEIGHED) == 3
    assert [weigh(model) for model in models] == values, "and finds its own again"
    assert len(WEIGHED) == 3
    assert weigh(treated(plain, NoTreatment())) == values[0]
    assert len(WEIGHED) == 3, "no treatment is the untreated model"
    with plain.module() as model:
        assert sum(float(p.detach().double().sum()) for p in model.parameters()) == values[0], "dense weights stay"


def test_a_treatment_must_not_give_back_the_dense_models_weights(embedded: Callable[[str], LoadedModel]) -> None:
    with pytest.raises(AssertionError, match="with_own_weights"):
        treated(PrunedModel(embedded("tiny_llama"), SUBSET), InPlace())


def test_a_treated_model_is_scored_with_its_own_weights_through_the_stack_too(
    embedded: Callable[[str], LoadedModel],
) -> None:
    """Perplexity runs block by block: it must be that of the module, treated and then physically pruned."""
    plain = PrunedModel(embedded("tiny_neox"), SUBSET)
    doubled = treated(plain, Doubled(block=1))
    scorer, memory = Perplexity(corpora=("facts",), windows=3), Memory()
    scored = [rows[0] for rows in scorer.score("facts", [plain, doubled, plain], memory)]
    assert scored[0].value == scored[2].value != scored[1].value
    module = doubled.with_own_weights().loaded.stack.model
    prune_blocks(module, SUBSET)
    ids_RT = scorer._windows("facts", doubled.loaded).ids_RT
    with torch.inference_mode():
        losses = [float(module(row[None], labels=row[None]).loss) for row in ids_RT]
    assert scored[1].items == pytest.approx(losses, abs=1e-4)


def test_identity_holds_all_that_a_score_is_a_function_of(
    embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    loaded = embedded("tiny_llama")
    plain = PrunedModel(loaded, SUBSET)
    half = load_model(ModelConfig(path="deprune:tiny_llama", name="tiny_llama"), "cpu", "bfloat16")
    other = dataclasses.replace(loaded, facts=dataclasses.replace(loaded.facts, revision="another"))
    others = [
        PrunedModel(half, SUBSET),
        PrunedModel(other, SUBSET),
        PrunedModel(embedded("tiny_qwen3"), SUBSET),
        PrunedModel(loaded, BlockSubset.of(12, [3])),
        treated(plain, Doubled()),
    ]
    assert len({scores_file(model) for model in (plain, *others)}) == len(others) + 1
    attention = loaded.stack.model.config._attn_implementation
    assert plain.identity() == {
        "name": "tiny_llama", "revision": loaded.facts.revision, "dtype": "float32", "attention": attention,
        "device": "cpu", "subset": SUBSET.bits(),
    }  # fmt: skip
    scorers = [
        MultipleChoice(tasks=("mini_one_hop",)),
        MultipleChoice(tasks=("mini_one_hop",), limit=5),
        MultipleChoice(tasks=("mini_one_hop",), batch_size=2),
        MultipleChoice(tasks=("mini_two_hop",)),
        Perplexity(corpora=("facts",), windows=2),
        Perplexity(corpora=("facts",), windows=3),
        Perplexity(corpora=("arithmetic",), windows=2),
    ]
    memory = Memory()
    entries = {entry_of(plain, scorer, scorer.subjects()[0], memory) for scorer in scorers}
    assert len(entries) == len(scorers)
    assert entry_of(plain, MultipleChoice(tasks=("mini_one_hop", "mini_two_hop")), "mini_one_hop", memory) in entries


def test_a_changed_definition_of_a_task_is_another_entry(
    embedded: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, scorer, memory = (
        PrunedModel(embedded("tiny_llama"), SUBSET),
        MultipleChoice(tasks=("mini_one_hop",)),
        Memory(),
    )
    before = entry_of(plain, scorer, "mini_one_hop", memory)
    built = memory.keeping(MOST_TASKS, load_task, "mini_one_hop")
    monkeypatch.setattr(built.config, "description", "Think hard. ")
    assert entry_of(plain, scorer, "mini_one_hop", memory) != before


def test_settings_of_a_scorer_have_entries_of_their_own(
    embedded: Callable[[str], LoadedModel], weigh: Callable[..., float], tmp_path: Path
) -> None:
    plain = PrunedModel(embedded("tiny_llama"), SUBSET)
    assert weigh(plain, factor=2.0) == pytest.approx(2 * weigh(plain))
    assert len(WEIGHED) == 2
    assert len(json.loads((tmp_path / scores_file(plain)).read_text())) == 2


def test_damaged_scores_are_computed_again(
    embedded: Callable[[str], LoadedModel], weigh: Callable[..., float], tmp_path: Path
) -> None:
    plain = PrunedModel(embedded("tiny_llama"), SUBSET)
    value = weigh(plain)
    (tmp_path / scores_file(plain)).write_text('{"weights": [{"value": 1')
    assert weigh(plain) == value
    assert len(WEIGHED) == 2


@dataclass(frozen=True, kw_only=True)
class Silent(Scorer):
    def subjects(self) -> Sequence[str]:
        return ("anything",)

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        return [[] for _ in models]


def test_a_scorer_without_a_row_for_what_it_was_asked_is_an_error(
    embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    with pytest.raises(DepruneError, match=r"test_scoring returned no row for anything"):
        score_models([PrunedModel(embedded("tiny_llama"), SUBSET)], {"silent": Silent()}, tmp_path, Memory())
    assert not list(tmp_path.rglob("*.json"))


def test_a_task_without_choices_is_refused_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, scorer = Memory(), MultipleChoice(tasks=("mini_one_hop",))
    scorer.check(memory)
    built = memory.keeping(MOST_TASKS, load_task, "mini_one_hop")
    monkeypatch.setattr(built, "OUTPUT_TYPE", "generate_until")
    with pytest.raises(ConfigError, match=r"'mini_one_hop'.*generate_until.*take it out of eval\.tasks"):
        scorer.check(memory)
