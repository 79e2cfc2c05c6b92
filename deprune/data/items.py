"""The corpora of multiple-choice items: the study's, any lm-eval task's, and the embedded ones."""

import itertools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from deprune.core.errors import ConfigError, DataError
from deprune.core.suggestions import unknown_name
from deprune.data.corpora import hub_rows
from deprune.data.corpus import Corpus, Item, ItemTokens, SampleSize
from deprune.data.hub import DataSet, refuse_scripts
from deprune.data.known import CHARACTERS_PER_TOKEN, known
from deprune.data.tasks import data_sets_of, named_data_sets, training_items
from deprune.data.text import text_rows
from deprune.embedded import task_items as embedded

log = logging.getLogger(__name__)


class ItemCorpus(Corpus):
    """A corpus of items, whose documents are the items with their right answers."""

    has_items: ClassVar[bool] = True

    def documents(self) -> Sequence[str]:
        """Returns the items with their right answers as text."""
        return [item.text for item in self.items()]


@dataclass(frozen=True, kw_only=True)
class InstructionItems(ItemCorpus):
    """Instructions that name the allowed answers, and "the correct answer is …": Commonsense-170k.

    The wrong choices are the other answers of the line "Answer format: solution1/solution2".
    Rows without such a line, or whose answer it does not name, are left out.

    Source: the study's discriminative calibration data (arXiv:2604.24938); LLM-Adapters (arXiv:2304.01933).

    Attributes:
        path: The data set on the Hub, with columns `instruction` and `answer`.
        split: The split to draw from.
        revision: Branch, tag or commit; by default the newest.
    """

    path: str
    split: str = "train"
    revision: str | None = None

    def items(self) -> Sequence[Item]:
        """Returns the items in the order of the rows."""
        rows = hub_rows(self.data_sets()[0], self.split)
        for column in ("instruction", "answer"):
            if column not in rows.column_names:
                raise ConfigError(f"The data set {self.path} has no column '{column}', which calib.path must have.")
        rows = text_rows(rows, ("instruction", "answer"), self.path, "the data set of calib.path")
        pairs = zip(rows["instruction"], rows["answer"], strict=True)
        items = [item for instruction, answer in pairs if (item := _parse_instruction(instruction, answer))]
        if not items:
            raise DataError(f"No instruction of {self.path} names its allowed answers; give another data set.")
        if n := len(rows) - len(items):
            log.warning(
                "%d of %d instructions of %s name no allowed answers and are left out.", n, len(rows), self.path
            )
        return items

    def data_sets(self) -> Sequence[DataSet]:
        """Returns the data set."""
        return (DataSet(path=self.path, revision=self.revision),)

    def item_size(self, seq_len: int, draw: Callable[[], Sequence[ItemTokens]]) -> SampleSize:
        """Returns the size of the longest items of the data sets that are known."""
        facts = known()["items"].get(self.path)
        return SampleSize(min(seq_len, facts["characters"] // CHARACTERS_PER_TOKEN) if facts else seq_len, 8)


def _parse_instruction(instruction: str, answer: str) -> Item | None:
    found = re.search(r"Answer format:\s*([^\n]+?)\s*$", instruction)
    labels = found.group(1).split("/") if found else []
    if answer not in labels or len(labels) < 2:
        return None
    context = f"{instruction}\n\nthe correct answer is"
    return Item(tuple((context, f" {label}") for label in labels), labels.index(answer))


@dataclass(frozen=True, kw_only=True)
class TaskItems(ItemCorpus):
    """The training split of any multiple-choice task of lm-eval, with the texts that lm-eval scores."""

    task: str

    def items(self) -> Sequence[Item]:
        """Returns the items of the training split."""
        return training_items(self.task)

    def identity(self) -> dict[str, Any]:
        """Returns the task and its split."""
        return {"task": self.task, "split": "train"}

    def data_sets(self) -> Sequence[DataSet]:
        """Returns the data set of the task, with all its splits."""
        return named_data_sets(self.task, "calib.task")

    def item_size(self, seq_len: int, draw: Callable[[], Sequence[ItemTokens]]) -> SampleSize:
        """Returns the size of the mean evaluation item of the tasks that are known."""
        facts = known()["tasks"].get(self.task)
        if facts is None:
            refuse_scripts(data_sets_of(self.task, "calib.task"))
            return super().item_size(seq_len, draw)
        n_choices = facts["requests"] / facts["items"]
        longest = round(n_choices * facts["characters"] / CHARACTERS_PER_TOKEN)
        return SampleSize(min(seq_len, longest), round(4 * n_choices))


@dataclass(frozen=True, kw_only=True)
class EmbeddedItems(ItemCorpus):
    """Training items of the embedded tasks, the same number of each, in turn.

    Attributes:
        tasks: Names of embedded tasks.
        n_items: Number of items of each task.
    """

    tasks: tuple[str, ...]
    n_items: int = 300

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in embedded.WRITERS:
                raise ConfigError(unknown_name("embedded task", task, embedded.WRITERS))

    def items(self) -> Sequence[Item]:
        """Returns the items."""
        streams = [embedded_items(task, "train", self.n_items) for task in self.tasks]
        return [*itertools.chain.from_iterable(zip(*streams, strict=True))]

    def identity(self) -> dict[str, Any]:
        """Returns the names of the tasks and the number of items."""
        return {"tasks": list(self.tasks), "n_items": self.n_items}

    def item_size(self, seq_len: int, draw: Callable[[], Sequence[ItemTokens]]) -> SampleSize:
        """Returns the size of the longest items of the draw."""
        items = draw()
        return SampleSize(max(item.n_tokens for item in items), max(sum(item.n_scored) for item in items))


def embedded_items(task: str, split: str, number: int) -> Iterator[Item]:
    """Yields the first items of an embedded task, with the texts that lm-eval scores."""
    for item in itertools.islice(embedded.items(task, split), number):
        yield Item(tuple((item.context, f" {choice}") for choice in item.choices), item.answer)
