"""lm-eval's tasks: are they there, what are their items?"""

import functools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from deprune.core.errors import ConfigError, DataError
from deprune.core.suggestions import unknown_name
from deprune.data.corpus import Item
from deprune.data.hub import DataSet, data_errors, require_hub

log = logging.getLogger(__name__)

EMBEDDED_TASKS = Path(__file__).parents[1] / "embedded" / "tasks"

READERS = ("json", "csv", "parquet", "text", "arrow")
"""What stands in place of a data set where a task reads files that are not in one."""


class Asked(NamedTuple):
    """What a task asks a model about one item.

    Attributes:
        choices: What precedes each choice, and its text; of a task without choices, the one answer.
        right: Indices of the right ones.
    """

    choices: tuple[tuple[str, str], ...]
    right: tuple[int, ...]

    @property
    def texts(self) -> list[str]:
        """The item as plain text, once with each right answer."""
        return ["".join(self.choices[answer]) for answer in self.right]


def check_tasks(tasks: Sequence[str], key: str = "eval.tasks") -> None:
    """Raises a ConfigError where lm-eval has no such task; builds none."""
    for task in tasks:
        if task in _index_of(task).all_subtasks:
            continue
        everything = _index(_folder_of_all())
        if members := _members(everything.task_index, task):
            several = f"'{task}' stands for {len(members)} tasks of lm-eval"
            raise ConfigError(f"{several}; give {key} a task itself, such as {' or '.join(members[:3])}.")
        raise ConfigError(unknown_name("evaluation task", task, everything.all_subtasks))


def _members(index: Mapping[str, Any], name: str) -> list[str]:
    """Returns the tasks that lm-eval has under a group or a tag; none for a task."""
    entry = index.get(name)
    inner = [] if entry is None else [*entry.tags, *_children(entry.cfg)] if entry.kind.name in ("GROUP", "TAG") else []
    return sorted({task for child in inner for task in _members(index, child) or [child]})


def _children(group: Mapping[str, Any] | None) -> list[str]:
    """Returns the names in the definition of a group, which may hold others as they are."""
    members = group["task"] if group else []
    if not isinstance(members, list):
        return [str(members)]
    return [name for m in members for name in (_children(m) if isinstance(m, dict) else [str(m)])]


def load_task(task: str) -> Any:
    """Builds lm-eval's task object; raises a DataError where its data or a package that it needs cannot be had."""
    if not _is_embedded(task):
        require_hub("the evaluation data", "eval=mini or eval=none")
    with _task_errors(task):
        return _index_of(task).load([task])["tasks"][task]


@contextmanager
def _task_errors(task: str) -> Iterator[None]:
    try:
        with data_errors(f"data of the task {task}"):
            yield
    except DataError as error:
        if isinstance(missing := error.__cause__, ModuleNotFoundError):
            package = _package_of(str(missing.name))
            needs = f"needs the package {missing.name}, which is not installed"
            raise DataError(f"The task '{task}' {needs}; run `pip install {package}`, or take another task.") from error
        if "out of bounds for size 0" in str(error):  # lm-eval tries the first of them
            raise DataError(f"The task '{task}' has no items; take another.") from error
        raise


def _package_of(module: str) -> str:
    """Returns what to install for a module: the extra of lm-eval that has it, or what is called the same."""
    requirements = (requirement.partition(";") for requirement in metadata.requires("lm_eval") or ())
    extras = (re.findall(r'extra == "(\w+)"', extra) for name, _, extra in requirements if name.strip() == module)
    return next((f"'lm_eval[{names[0]}]'" for names in extras if names), module.partition(".")[0])


def settings_of(task: str) -> dict[str, Any]:
    """Returns the definition of a task as it stands in lm-eval's file, with what it includes."""
    from lm_eval.tasks._yaml_loader import load_yaml

    path = _index_of(task).task_index[task].yaml_path
    return {} if path is None else dict(load_yaml(path, resolve_func=False))


def data_sets_of(task: str, key: str = "eval.tasks") -> tuple[DataSet, ...]:
    """Returns the data set on the Hub that a task reads, without reading it, where its definition names one."""
    check_tasks([task], key)
    settings = {} if _is_embedded(task) else settings_of(task)
    path = settings.get("dataset_path")  # or else its code, or a reader of files from elsewhere, says it
    return () if not path or path in READERS else (DataSet(path=path, config=settings.get("dataset_name")),)


def named_data_sets(task: str, key: str = "eval.tasks") -> tuple[DataSet, ...]:
    """Returns the same; raises a ConfigError where that is not all of what a task reads."""
    found = data_sets_of(task, key)
    if not found and not _is_embedded(task):
        unsaid = f"The task '{task}' names no data set of the Hub, so that what it reads cannot be fetched beforehand"
        raise ConfigError(f"{unsaid}; take it out, or run it once on this machine.")
    return found


def training_items(task: str) -> list[Item]:
    """Returns the items of the training split of a task that have one right answer, and says how many have not.

    Raises:
        ConfigError: It has none.
        DataError: It cannot be built or read.
    """
    check_tasks([task], "calib.task")
    loaded = load_task(task)
    wanted = "is not a multiple-choice task with a training split"
    if loaded.OUTPUT_TYPE == "multiple_choice" and loaded.has_training_docs():
        with _task_errors(task):
            asked = [_asked(loaded, doc) for doc in loaded.training_docs()]
        items = [Item(of.choices, of.right[0]) for of in asked if len(of.right) == 1]
        if items:
            _say_left_out(len(asked) - len(items), len(asked), task)
            return items
        wanted = "has no training item with one right answer"
    raise ConfigError(f"The task '{task}' {wanted}; take another, such as calib.task=arc_easy.")


def evaluation_items(built: Any, limit: int | None) -> list[Asked]:
    """Returns what a task of `load_task` asks in its evaluation, for all items or so many from the first."""
    return [_asked(built, doc) for doc in list(built.eval_docs)[:limit]]


def chance_of(built: Any, items: Sequence[Asked]) -> float | None:
    """Returns the share of items that guessing gets right; None where nothing is chosen, or choices are not counted."""
    if built.OUTPUT_TYPE != "multiple_choice" or built.config.process_results is not None:
        return None
    return fmean(len(asked.right) / len(asked.choices) for asked in items)


def item_hashes(built: Any, limit: int | None) -> list[str]:
    """Returns the hash of each document that a task is evaluated on, as lm-eval's logs have it.

    Where it shows examples before its items, those that these are drawn from follow.
    """
    from lm_eval.utils import handle_non_serializable, hash_string

    dumps = functools.partial(json.dumps, indent=2, default=handle_non_serializable, ensure_ascii=False)
    shown = built.fewshot_docs() if built.config.num_fewshot else None
    return [hash_string(dumps(doc)) for doc in [*list(built.eval_docs)[:limit], *(shown or ())]]


def definition_of(built: Any) -> str:
    """Returns all settings of a task as a text, its functions by their source."""
    from lm_eval.utils import handle_non_serializable

    text = json.dumps(built.dump_config(), sort_keys=True, default=handle_non_serializable)
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # where a function lies in memory


def _asked(task: Any, doc: dict[str, Any]) -> Asked:
    """Returns the very texts that lm-eval asks for the log-likelihoods of, but for examples shown before an item."""
    context = task.fewshot_context(doc, 0, gen_prefix=task.doc_to_prefix(doc))
    requests = task.construct_requests(doc, context, metadata=(None, None, None))
    if task.OUTPUT_TYPE != "multiple_choice":
        return Asked((_pair(requests),), (0,))
    choices = task.doc_to_choice(doc)
    gold = (task.doc_to_text if task.multiple_input else task.doc_to_target)(doc)
    indices = [choices.index(g) if g in choices else g for g in (gold if isinstance(gold, list) else [gold])]
    right = tuple(i for i in indices if isinstance(i, int) and 0 <= i < len(choices))
    return Asked(tuple(map(_pair, requests[: len(choices)])), right)  # what may follow has no context


def _pair(request: Any) -> tuple[str, str]:
    context, choice, *_ = request.arguments
    return str(context), str(choice)


def _say_left_out(n: int, total: int, task: str) -> None:
    if n:
        log.warning("%d of %d training items of %s have not one right answer and are left out.", n, total, task)


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
