"""Scores of tasks of every kind are those of lm-eval's own command, and what has no true score is refused before."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from deprune.core.errors import ConfigError, DataError, DepruneError, UnsupportedModelError
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data import tasks
from deprune.data.tasks import training_items
from deprune.downstream.choices import MultipleChoice
from deprune.downstream.perplexity import Perplexity
from deprune.downstream.scoring import score_models
from deprune.model.load import LoadedModel, load_model
from deprune.model.pruned import PrunedModel
from deprune.model.source import ModelConfig

READER = """
import json
from pathlib import Path
from datasets import Dataset, DatasetDict


def load(name, **_):
    rows = json.loads(Path(__file__).with_name(name + ".json").read_text())
    return DatasetDict({split: Dataset.from_list(rows[split]) for split in rows})


def mass(doc, results):
    from math import exp

    masses = [exp(value) for value, _ in results]
    return {"acc": sum(m for m, right in zip(masses, doc["labels"]) if right) / sum(masses)}


def none(docs):
    return docs.select([])
"""
"""Beside the definitions of tasks: what reads their rows, and how some of them are scored."""

BASE: dict[str, Any] = {
    "custom_dataset": "!function reader.load", "output_type": "multiple_choice", "test_split": "test",
    "training_split": "train", "doc_to_text": "{{question}}", "doc_to_choice": "choices", "doc_to_target": "answer",
    "metadata": {"version": 3.0},
}  # fmt: skip

PLACES = ["mill", "lake", "barn", "cave", "wood"]

ROWS = [
    {
        "question": f"Ben is at the {place}. Where is Ben? At the",
        "choices": [*PLACES[: 2 + i % 4], place],
        "answer": i % 2,
    }
    for i, place in enumerate(PLACES * 2)
]


def metrics(*names: str, aggregation: str = "mean") -> dict[str, Any]:
    return {"metric_list": [{"metric": n, "aggregation": aggregation, "higher_is_better": True} for n in names]}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Defines tasks in a folder of their own, in place of the embedded ones."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "reader.py").write_text(READER)
    monkeypatch.setattr(tasks, "EMBEDDED_TASKS", tmp_path / "tasks")

    def define(rows: list[dict[str, Any]], settings: dict[str, Any], shown: list[dict[str, Any]] | None = None) -> str:
        name = "mine"
        content = {**BASE, "task": name, "dataset_kwargs": {"name": name}, **settings}
        text = yaml.safe_dump({key: value for key, value in content.items() if value is not None})
        (tmp_path / "tasks" / f"{name}.yaml").write_text(re.sub(r"'(!function [\w.]+)'", r"\1", text))
        (tmp_path / "tasks" / f"{name}.json").write_text(json.dumps({"train": shown or rows, "test": rows}))
        tasks._index.cache_clear()
        return name

    yield define
    tasks._index.cache_clear()


KINDS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], float | None]] = {
    "choices in different numbers": (ROWS, metrics("acc", "acc_norm"), 0.2483333333),
    "one item": (ROWS[:1], metrics("acc", "acc_norm"), 1 / 3),
    "answers as text": (
        [{**row, "answer": row["choices"][row["answer"]]} for row in ROWS], metrics("acc"), 0.2483333333,
    ),
    "several right answers": (
        [{**row, "answer": [0, 1]} for row in ROWS], metrics("acc", "acc_norm"), 0.4966666667,
    ),
    "an answer that is none of the choices": (
        [{**row, "answer": -1 if i else 0} for i, row in enumerate(ROWS)], metrics("acc"), 1 / 30,
    ),
    "choices in the middle": (
        [
            {"question": i % 2, "choices": [f"Ben at the {place}", "Eve at the mill"], "answer": "is there"}
            for i, place in enumerate(PLACES)
        ],
        {**metrics("acc"), "doc_to_text": "question"}, 0.5,
    ),
    "masses of right answers": (
        [{**row, "labels": [1] + [0] * (len(row["choices"]) - 1)} for row in ROWS],
        {**metrics("acc"), "process_results": "!function reader.mass"}, None,
    ),
    "accuracy by mutual information beside": (ROWS, metrics("acc", "acc_mutual_info"), 0.2483333333),
    "examples before each item": (ROWS, {**metrics("acc"), "num_fewshot": 2, "fewshot_split": "train"}, 0.2483333333),
    "one text that is given": (
        ROWS,
        {
            "metric_list": [
                *metrics("acc")["metric_list"], *metrics("perplexity", aggregation="perplexity")["metric_list"],
            ],
            "output_type": "loglikelihood", "doc_to_choice": None, "doc_to_target": " {{choices[0]}}",
        }, None,
    ),
    "metrics that are not stated": (ROWS, {}, 0.2483333333),
}  # fmt: skip


def command_of_lm_eval(loaded: LoadedModel, subset: BlockSubset, name: str) -> dict[str, Any]:
    """Returns what lm-eval's own command makes of the physically pruned model."""
    with PrunedModel(loaded, subset).module() as model:
        harness = HFLM(pretrained=model, tokenizer=loaded.tokenizer, batch_size=64)
        manager = TaskManager(include_path=str(tasks.EMBEDDED_TASKS), include_defaults=False)
        found = simple_evaluate(harness, tasks=[name], task_manager=manager, bootstrap_iters=100, log_samples=True)
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_lm_evals_command(
    kind: str, task: Callable[..., str], embedded: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    rows, settings, chance = KINDS[kind]
    name, loaded, memory = task(rows, settings), embedded("tiny_llama"), Memory()
    scorer, subset = MultipleChoice(tasks=(name,)), BlockSubset.of(12, [2, 9])
    scorer.check(memory)
    models = [PrunedModel(loaded, BlockSubset(12)), PrunedModel(loaded, subset)]  # the first leaves nothing behind
    found, expected = scorer.score(name, models, memory)[1], command_of_lm_eval(loaded, subset, name)
    values, samples = expected["results"][name], expected["samples"][name]
    assert [row.metric for row in found] == [m for m in ("acc", "acc_norm") if f"{m},none" in values]
    for row in found:
        assert row.value == pytest.approx(values[f"{row.metric},none"], abs=1e-12)
        assert row.items == pytest.approx([float(sample[row.metric]) for sample in samples], abs=1e-12)
        stderr = values[f"{row.metric}_stderr,none"]
        assert row.stderr == (None if len(rows) == 1 else pytest.approx(stderr, abs=1e-12))
        assert row.chance == (chance and pytest.approx(chance))
        assert (row.n_items, row.version) == (len(rows), "3.0")


def test_masses_are_kept_as_they_are(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    rows, settings, _ = KINDS["masses of right answers"]
    scorer = MultipleChoice(tasks=(task(rows, settings),))
    models = [PrunedModel(embedded("tiny_llama"), BlockSubset(12))]
    first, again = (
        score_models(models, {"choices": scorer}, tmp_path / "kept", Memory())[0]["choices"][0] for _ in range(2)
    )
    assert first == again
    assert len({*first.items} - {0.0, 1.0}) > len(rows) / 2
    assert math.fsum(first.items) / len(first.items) == pytest.approx(first.value)


def test_scores_are_kept_under_the_examples_that_are_shown_too(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel]
) -> None:
    scorer, loaded = MultipleChoice(tasks=("mine",)), embedded("tiny_llama")
    found = []
    for n_shots in (2, 0):
        for shown in (ROWS, ROWS[1:]):
            task(ROWS, {**metrics("acc"), "num_fewshot": n_shots, "fewshot_config": {"split": "train"}}, shown)
            found.append(str(scorer.definition("mine", loaded, Memory())))
    assert len({*found[:2], found[2]}) == 3
    assert found[2] == found[3]


def test_texts_for_overlap_hold_every_right_answer(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel]
) -> None:
    name = task([{**ROWS[0], "answer": [0, 2]}, {**ROWS[1], "answer": [9]}], metrics("acc"))
    (text,) = MultipleChoice(tasks=(name,)).texts(embedded("tiny_llama"), Memory())
    assert text.items == {f"{ROWS[0]['question']} {ROWS[0]['choices'][answer]}" for answer in (0, 2)}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "generates": (
        {"output_type": "generate_until", "doc_to_choice": None, **metrics("acc")}, "it is a generate_until task",
    ),
    "other metrics": (metrics("f1", "acc_norm"), "multiple_choice task with the metrics f1, acc_norm; take it out"),
    "another mean": (metrics("acc", aggregation="median"), "has no acc, a mean over items"),
    "rolling": (
        {"output_type": "loglikelihood_rolling", "doc_to_choice": None, "metric_list": None},
        "loglikelihood_rolling task with the metrics word_perplexity, byte_perplexity, bits_per_byte",
    ),
    "missing split": ({**metrics("acc"), "test_split": "exam"}, "data of the task mine cannot be read: 'exam'"),
    "missing package": (
        {**metrics("acc"), "doc_to_text": "!function needy.text"},
        "needs the package langdetect, which is not installed; run `pip install 'lm_eval[ifeval]'`",
    ),
    "missing column": ({**metrics("acc"), "doc_to_choice": "{{options}}"}, "data of the task mine cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_tasks_without_a_true_accuracy_are_refused_before_a_model_is_asked(why: str, task: Callable[..., str]) -> None:
    settings, sentence = REFUSED[why]
    (tasks.EMBEDDED_TASKS / "needy.py").write_text("import langdetect\n")
    scorer = MultipleChoice(tasks=(task(ROWS, settings),))
    with pytest.raises(DepruneError, match=re.escape(sentence)) as caught:
        scorer.check(Memory())
    assert "\n" not in str(caught.value)


def test_a_task_without_items_is_refused(task: Callable[..., str]) -> None:
    name = task(ROWS, {**metrics("acc"), "process_docs": "!function reader.none"})
    with pytest.raises(DataError, match="The task 'mine' has no items"):
        MultipleChoice(tasks=(name,)).check(Memory())


@pytest.mark.parametrize("kind", ["choices in different numbers", "masses of right answers"])
def test_choices_among_numbers_that_are_none_are_no_score(kind: str, task: Callable[..., str]) -> None:
    """The likeliest of them would be the first, whatever the model is."""
    rows, settings, _ = KINDS[kind]
    name, loaded = task(rows, settings), load_model(ModelConfig(path="deprune:tiny_llama"), "cpu", "float32")
    with torch.no_grad():
        loaded.stack.model.model.norm.weight.fill_(math.inf)
    with pytest.raises(DepruneError, match="The acc on mine is not finite, or rests on"):
        MultipleChoice(tasks=(name,)).score(name, [PrunedModel(loaded, BlockSubset(12))], Memory())


def test_items_longer_than_the_context_are_counted(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel], caplog: pytest.LogCaptureFixture
) -> None:
    loaded, memory = embedded("tiny_llama"), Memory()
    assert loaded.facts.context == 256
    name = task([*ROWS, {**ROWS[0], "question": "Ben is here. " * 99}], metrics("acc"))
    for _ in range(2):
        [*MultipleChoice(tasks=(name,)).texts(loaded, memory)]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["1 of 11 items of mine are longer than the context of 256 tokens and lose their beginning."]


def test_no_process_is_forked_for_standard_errors_that_nobody_reads(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.Pool", lambda *_: pytest.fail("processes were made"))
    rows, settings, _ = KINDS["one text that is given"]
    name = task(rows, settings)
    (rows_,) = MultipleChoice(tasks=(name,)).score(
        name, [PrunedModel(embedded("tiny_llama"), BlockSubset(12))], Memory()
    )
    assert rows_[0].stderr is not None


def test_calibration_takes_items_with_one_right_answer_and_counts_the_others(
    task: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    several = [{**row, "answer": [i % 2]} for i, row in enumerate(ROWS[:4])] + [
        {**ROWS[4], "answer": [0, 1]},
        {**ROWS[5], "answer": []},
    ]
    items = training_items(task(several, metrics("acc")))
    assert [(item.answer, len(item.choices)) for item in items] == [(0, 3), (1, 4), (0, 5), (1, 6)]
    assert items[1].text == f"{ROWS[1]['question']} {ROWS[1]['choices'][1]}"
    assert "2 of 6 training items of mine have not one right answer and are left out." in caplog.text
    with pytest.raises(ConfigError, match="has no training item with one right answer"):
        training_items(task(several[4:], metrics("acc")))
    with pytest.raises(ConfigError, match="is not a multiple-choice task with a training split"):
        training_items(task(several, {**metrics("acc"), "training_split": None}))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param("mmlu", "57 tasks of lm-eval; give eval.tasks .* such as mmlu_abs.* or", marks=pytest.mark.slow),
        pytest.param("ai2_arc", "2 tasks of lm-eval; .* such as arc_challenge or arc_easy", marks=pytest.mark.slow),
        ("gsm8k", "'gsm8k' has no acc, .* generate_until task with the metrics exact_match; take it out of eval.tasks"),
        ("leaderboard_bbh_navigate", "'leaderboard_bbh_navigate' has no acc, .* with the metrics acc_norm;"),
    ],
)
def test_names_of_lm_eval_without_accuracy(name: str, sentence: str) -> None:
    """Said by their definitions: no data is asked for, neither for the sweep nor for its plan."""
    for ask in (lambda of: of.check(Memory()), lambda of: of.size(ModelConfig(path="m"), None, Memory())):
        with pytest.raises(ConfigError, match=sentence):
            ask(MultipleChoice(tasks=(name,)))


def test_data_that_is_a_script_is_said_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a plan too, where a Hub answers; else the plan says that the size of the task is not known."""
    asked = []
    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", lambda self, *args, **how: asked.append(args) or True)
    scorer = MultipleChoice(tasks=("logiqa",))
    for answers in (False, True):
        monkeypatch.setattr("deprune.data.hub._answers", lambda endpoint, answers=answers: answers)
        if answers:
            with pytest.raises(DataError, match="EleutherAI/logiqa cannot be had: it is a Python script"):
                scorer.size(ModelConfig(path="m"), None, Memory())
        else:
            assert scorer.size(ModelConfig(path="m"), None, Memory()).unknown == ("logiqa",)
    assert asked == [("EleutherAI/logiqa", "logiqa.py")]


def test_a_tokenizer_without_start_and_end_is_refused_and_none_is_changed(
    task: Callable[..., str], embedded: Callable[[str], LoadedModel]
) -> None:
    name, loaded = task(ROWS, metrics("acc")), embedded("tiny_llama")
    for kept in ("bos_token", None):
        tokenizer = copy.deepcopy(loaded.tokenizer)
        for token in ("bos_token", "eos_token", "pad_token", "unk_token"):
            setattr(tokenizer, token, getattr(loaded.tokenizer, token) if token == kept else None)
        other, size = dataclasses.replace(loaded, tokenizer=tokenizer, memory=Memory()), len(tokenizer)
        models = [PrunedModel(other, BlockSubset(12))]
        if kept is None:
            with pytest.raises(UnsupportedModelError, match="neither a start nor an end token, and lm-eval needs one"):
                MultipleChoice(tasks=(name,)).score(name, models, Memory())
        else:
            MultipleChoice(tasks=(name,)).score(name, models, Memory())
        assert (len(tokenizer), tokenizer.pad_token) == (size, None)


def test_what_is_named_twice_would_count_twice() -> None:
    with pytest.raises(ConfigError, match=r"eval.tasks names a, b more than once"):
        MultipleChoice(tasks=("a", "b", "c", "b", "a"))
    with pytest.raises(ConfigError, match=r"eval.corpora names facts more than once"):
        Perplexity(corpora=("facts", "facts"))


def test_one_window_has_no_standard_error(embedded: Callable[[str], LoadedModel]) -> None:
    models = [PrunedModel(embedded("tiny_llama"), BlockSubset(12))]
    for windows, is_known in ((1, False), (2, True)):
        ((row,),) = Perplexity(corpora=("facts",), windows=windows).score("facts", models, Memory())
        assert (row.stderr is not None) == is_known
