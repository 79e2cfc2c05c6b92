"""lm-eval's tasks: are they there, what are their items?"""

import functools
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deprune.core.errors import ConfigError
from deprune.core.suggestions import unknown_name
from deprune.data.corpus import Item
from deprune.data.hub import DataSet, hub_errors, require_hub

EMBEDDED_TASKS = Path(__file__).parents[1] / "embedded" / "tasks"


def check_tasks(tasks: Sequence[str]) -> None:
    """Raises a ConfigError where lm-eval has no such task; builds none."""
    for task in tasks:
        if task not in _index_of(task).all_subtasks:
            raise ConfigError(unknown_name("evaluation task", task, _index(_folder_of_all()).all_subtasks))


def load_task(task: str) -> Any:
    """Builds lm-eval's task object; raises a DataError where its data cannot be had from the Hub."""
    if not _is_embedded(task):
        require_hub("the evaluation data", "eval=mini or eval=none")
    with hub_errors(f"data of the task {task}"):
        return _index_of(task).load([task])["tasks"][task]


def data_sets_of(task: str) -> tuple[DataSet, ...]:
    """Returns the data set on the Hub that a task reads, without reading it; none for an embedded task."""
    from lm_eval.tasks._yaml_loader import load_yaml

    check_tasks([task])
    entry = _index_of(task).task_index[task]
    if _is_embedded(task) or entry.yaml_path is None:
        return ()
    settings = load_yaml(entry.yaml_path, resolve_func=False)
    return (DataSet(path=settings["dataset_path"], config=settings.get("dataset_name")),)


def training_items(task: str) -> list[Item]:
    """Returns the items of the training split of a task; raises a ConfigError where there are none."""
    check_tasks([task])
    loaded = load_task(task)
    if loaded.OUTPUT_TYPE != "multiple_choice" or not loaded.has_training_docs():
        wanted = "a multiple-choice task with a training split"
        raise ConfigError(f"The task '{task}' is not {wanted}; take one that is, such as calib.task=arc_easy.")
    return [_item(loaded, doc) for doc in loaded.training_docs()]


def evaluation_items(built: Any, limit: int | None) -> list[Item]:
    """Returns the items that a task of `load_task` is evaluated on, all or so many from the first."""
    return [_item(built, doc) for doc in list(built.eval_docs)[:limit]]


def item_hashes(built: Any, limit: int | None) -> list[str]:
    """Returns the hash of each document that a task is evaluated on, as lm-eval's logs have it."""
    from lm_eval.utils import handle_non_serializable, hash_string

    dumps = functools.partial(json.dumps, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return [hash_string(dumps(doc)) for doc in list(built.eval_docs)[:limit]]


def definition_of(built: Any) -> str:
    """Returns all settings of a task as a text, its functions by their source."""
    from lm_eval.utils import handle_non_serializable

    text = json.dumps(built.dump_config(), sort_keys=True, default=handle_non_serializable)
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # where a function lies in memory


def _item(task: Any, doc: dict[str, Any]) -> Item:
    """Returns an item with the very texts that lm-eval asks for the log-likelihoods of."""
    requests = task.construct_requests(doc, task.fewshot_context(doc, 0), metadata=(None, None, None))
    answer = (task.doc_to_text if task.multiple_input else task.doc_to_target)(doc)
    if isinstance(answer, str):
        answer = task.doc_to_choice(doc).index(answer)
    return Item(tuple((str(context), str(choice)) for context, choice in (r.arguments for r in requests)), int(answer))


def _is_embedded(task: str) -> bool:
    return (EMBEDDED_TASKS / f"{task}.yaml").is_file()


def _index_of(task: str) -> Any:
    """Returns lm-eval's index of a folder that holds a task, or of all where no file says its name as usual."""
    return _index(EMBEDDED_TASKS if _is_embedded(task) else _folders().get(task, _folder_of_all()))


@functools.cache
def _index(folder: Path) -> Any:
    """Returns lm-eval's index of the tasks in a folder and of the embedded ones."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=[str(folder), str(EMBEDDED_TASKS)], include_defaults=False)


@functools.cache
def _folders() -> dict[str, Path]:
    """Returns where lm-eval's tasks are, by their names alone: its own index reads all settings, which takes seconds.

    As in its index, the first of several files counts.
    """
    paths = sorted(_folder_of_all().rglob("*.yaml"), key=Path.as_posix, reverse=True)
    name = re.compile(r"""^["']?task["']?: *["']?([^"'\s]+)""", re.MULTILINE)
    return {found: path.parent for path in paths for found in name.findall(path.read_text(encoding="utf-8"))}


def _folder_of_all() -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent
