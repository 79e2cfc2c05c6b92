"""lm-eval's tasks: are they there, what are their items?"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deprune.core.errors import ConfigError
from deprune.core.suggestions import unknown_name
from deprune.data.corpus import Item
from deprune.data.hub import DataSet, hub_errors, require_hub

EMBEDDED_TASKS = Path(__file__).parents[1] / "embedded" / "tasks"


def check_tasks(tasks: Sequence[str]) -> None:
    """Makes sure that tasks exist, without building them.

    Raises:
        ConfigError: lm-eval has no such task.
    """
    for task in tasks:
        known = _manager(all(map(_is_embedded, tasks))).all_subtasks
        if task not in known:
            raise ConfigError(unknown_name("evaluation task", task, known))


@functools.lru_cache(maxsize=32)
def load_task(task: str) -> Any:
    """Returns lm-eval's task object, built once per process.

    Raises:
        DataError: The data of the task cannot be had from the Hub.
    """
    if not _is_embedded(task):
        require_hub("the evaluation data", "eval=mini or eval=none")
    with hub_errors(f"data of the task {task}"):
        return _manager(_is_embedded(task)).load([task])["tasks"][task]


def data_sets_of(task: str) -> tuple[DataSet, ...]:
    """Returns the data set on the Hub that a task reads, without reading it; none for an embedded task.

    Raises:
        ConfigError: There is no such task.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    check_tasks([task])
    entry = _manager(_is_embedded(task)).task_index[task]
    if _is_embedded(task) or entry.yaml_path is None:
        return ()
    settings = load_yaml(entry.yaml_path, resolve_func=False)
    return (DataSet(path=settings["dataset_path"], config=settings.get("dataset_name")),)


@functools.lru_cache(maxsize=32)
def training_items(task: str) -> list[Item]:
    """Returns the items of a task's training split.

    Raises:
        ConfigError: The task has none, or is not a multiple-choice task.
        DataError: Its data cannot be had.
    """
    check_tasks([task])
    loaded = load_task(task)
    if loaded.OUTPUT_TYPE != "multiple_choice" or not loaded.has_training_docs():
        raise ConfigError(
            f"The task '{task}' is not a multiple-choice task with a training split; "
            "take one that is, such as calib.task=arc_easy."
        )
    return _items(loaded, loaded.training_docs())


@functools.lru_cache(maxsize=32)
def evaluation_items(task: str, limit: int | None) -> list[Item]:
    """Returns the items that a multiple-choice task is evaluated on; no items for other kinds of task."""
    loaded = load_task(task)
    if loaded.OUTPUT_TYPE != "multiple_choice":
        return []
    docs = list(loaded.eval_docs)
    return _items(loaded, docs[:limit])


def _items(task: Any, docs: Iterable[dict[str, Any]]) -> list[Item]:
    return [_item(task, doc) for doc in docs]


def _item(task: Any, doc: dict[str, Any]) -> Item:
    """Returns an item with the very texts that lm-eval asks for the log-likelihoods of."""
    requests = task.construct_requests(doc, task.fewshot_context(doc, 0), metadata=(None, None, None))
    answer = (task.doc_to_text if task.multiple_input else task.doc_to_target)(doc)
    if isinstance(answer, str):
        answer = task.doc_to_choice(doc).index(answer)
    pairs = [(str(context), str(choice)) for context, choice in (r.arguments for r in requests)]
    return Item(tuple(pairs), int(answer))


def _is_embedded(task: str) -> bool:
    return (EMBEDDED_TASKS / f"{task}.yaml").is_file()


@functools.cache
def _manager(embedded_only: bool) -> Any:
    """Returns lm-eval's index of tasks; reading all of its own takes seconds."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=str(EMBEDDED_TASKS), include_defaults=not embedded_only)
