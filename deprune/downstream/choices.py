"""Accuracy on multiple-choice tasks, by lm-eval used as a library on the pruned model in memory.

Each task is evaluated on its own, so that its batches, and with them its rounding, do not depend on what else is
asked for.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError
from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.data.hub import DataSet
from deprune.data.items import embedded_items
from deprune.data.known import CHARACTERS_PER_TOKEN, known
from deprune.data.tasks import check_tasks, data_sets_of, definition_of, evaluation_items, item_hashes, load_task
from deprune.downstream.base import Read, Score, Scorer, Size
from deprune.embedded import task_items as embedded
from deprune.model.source import ModelConfig, load_tokenizer
from deprune.record.schema import ACCURACY, SHARE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from deprune.data.corpus import Item
    from deprune.data.overlap import EvaluatedText
    from deprune.model.load import LoadedModel
    from deprune.model.pruned import PrunedModel

METRICS = {"acc": ACCURACY, "acc_norm": None}
"""Metric of lm-eval -> the response that it is a part of; the first must be there. The second takes the choice of best
log-likelihood per byte."""

REQUEST_SECONDS = 0.7e-3
"""Time of lm-eval and the tokenizer for one request, beside the model; rounded from runs on one core of a server."""

MOST_TASKS = 32

MOST_TEXTS = 2**15
"""Number of texts whose tokens are kept between pruned models."""


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(Scorer):
    """Shares of items whose right choice is the likeliest, by lm-eval's tasks, documents, prompts and metrics.

    Attributes:
        tasks: lm-eval task names, zero-shot.
        limit: Number of items of each task, from the first; by default all.
        batch_size: Number of sequences that go through the model at once.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    batch_size: int = 64

    def subjects(self) -> Sequence[str]:
        """Returns the tasks."""
        return self.tasks

    def identity(self, key: str) -> dict[str, Any]:
        """Returns the settings that identities of runs have held from the first."""
        return {"tasks": sorted(self.tasks), "limit": self.limit}

    def check(self, memory: Memory) -> None:
        """Builds the tasks; raises a ConfigError where one is not scored by the accuracy of a choice."""
        check_tasks(self.tasks)
        for task in self.tasks:
            built = _task(task, memory)
            metrics = [metric["metric"] for metric in built.dump_config().get("metric_list", ())]
            if built.OUTPUT_TYPE != "multiple_choice" or not {*METRICS} & {*metrics}:
                scored_by = ", ".join(map(str, metrics)) or "nothing"
                raise ConfigError(
                    f"The task '{task}' has no choices whose accuracy could be taken (it is a {built.OUTPUT_TYPE} task "
                    f"scored by {scored_by}); take it out of eval.tasks."
                )

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns the requests of the tasks: counted of embedded ones, known of the usual ones."""
        args = self.limit, config, memory
        numbers = {task: memory.keeping(MOST_TASKS, _requests, task, *args) for task in self.tasks}
        found = [number for number in numbers.values() if number is not None]
        n_items, n_requests, n_tokens = (sum(column) for column in zip((0, 0, 0), *found, strict=True))
        longest = max((tokens // max(requests, 1) for _, requests, tokens in found), default=0)
        unknown = tuple(task for task, number in numbers.items() if number is None)
        return Size(n_items, n_requests, n_tokens, self.batch_size * longest, n_requests * REQUEST_SECONDS, unknown)

    def shortened(self, n_items: int) -> MultipleChoice:
        """Returns the scorer with a limit."""
        return replace(self, limit=min(n_items, self.limit or n_items))

    def definition(self, subject: str, loaded: LoadedModel, memory: Memory) -> Any:
        """Returns the task's own definition, its items, and the size of batches."""
        built = _task(subject, memory)
        items = memory.keeping(MOST_TASKS, item_hashes, built, self.limit)
        return [definition_of(built), digest_of(items), self.batch_size]

    def data_sets(self) -> Iterator[tuple[DataSet, Read]]:
        """Yields the data sets of the tasks."""
        yield from ((data, (load_task, task)) for task in self.tasks for data in data_sets_of(task))

    def texts(self, loaded: LoadedModel, memory: Memory) -> Iterator[EvaluatedText]:
        """Yields the items of every task with their right answers."""
        from deprune.data.overlap import EvaluatedText

        for task in self.tasks:
            texts = tuple(item.text for item in self._items(task, memory))
            yield loaded.memory.keeping(MOST_TASKS, EvaluatedText.of_items, task, texts, loaded.tokenizer)

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        """Lets lm-eval ask one model after the other."""
        return [self._rows(subject, pruned, memory) for pruned in models]

    def _rows(self, task: str, pruned: PrunedModel, memory: Memory) -> list[Score]:
        from lm_eval import evaluator

        model = pruned.loaded.stack.model
        harness = pruned.loaded.memory.keeping(1, _harness_model, model, pruned.loaded.tokenizer, self.batch_size)
        with pruned.module():
            results = evaluator.evaluate(harness, {"tasks": {task: _task(task, memory)}}, limit=self.limit)
        assert results is not None
        values, samples = results["results"][task], results["samples"][task]
        chance = fmean(1 / len(item.choices) for item in self._items(task, memory))
        item_set, version = digest_of([sample["doc_hash"] for sample in samples]), str(results["versions"].get(task))
        return [
            Score(
                task=task, metric=metric, response=response, value=float(values[f"{metric},none"]),
                stderr=float(values[f"{metric}_stderr,none"]), unit=SHARE, higher_is_better=True, chance=chance,
                n_items=len(samples), item_set=item_set, version=version,
                items=tuple(float(sample[metric]) for sample in samples),
            )
            for metric, response in METRICS.items()
            if f"{metric},none" in values
        ]  # fmt: skip

    def _items(self, task: str, memory: Memory) -> list[Item]:
        return memory.keeping(MOST_TASKS, evaluation_items, _task(task, memory), self.limit)


def _requests(task: str, limit: int | None, config: ModelConfig, memory: Memory) -> tuple[int, int, int] | None:
    """Returns the numbers of items, requests and tokens of a task, or None where they are not known here."""
    if task in embedded.WRITERS:
        items = [*embedded_items(task, "test", embedded.N_ITEMS["test"])][:limit]
        texts = [context + choice for item in items for context, choice in item.choices]
        tokens = memory.once(load_tokenizer, config)(texts)["input_ids"]
        return len(items), len(texts), sum(map(len, tokens))
    if task not in known()["tasks"]:
        check_tasks([task])
        return None
    facts = known()["tasks"][task]
    n_items = min(limit or facts["items"], facts["items"])
    n_requests = round(n_items * facts["requests"] / facts["items"])
    return n_items, n_requests, n_requests * facts["characters"] // CHARACTERS_PER_TOKEN


def _task(task: str, memory: Memory) -> Any:
    return memory.keeping(MOST_TASKS, load_task, task)


def _harness_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    # Every pruned model is asked the same; turning that into tokens was a quarter of the time of a small one.
    harness.tok_encode = functools.lru_cache(maxsize=MOST_TEXTS)(harness.tok_encode)
    # lm-eval offers no other way to keep its progress bars out of pipes and log files.
    harness.loglikelihood = functools.partial(harness.loglikelihood, disable_tqdm=not sys.stderr.isatty())
    return harness
