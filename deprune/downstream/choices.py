"""Accuracy on tasks whose answers are given, by lm-eval used as a library on the pruned model in memory.

Each task is evaluated on its own, so that its batches, and with them its rounding, do not depend on what else is
asked for.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, DepruneError, UnsupportedModelError
from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.data.hub import DataSet, refuse_scripts
from deprune.data.items import embedded_items
from deprune.data.known import CHARACTERS_PER_TOKEN, known
from deprune.data.tasks import (
    Asked,
    chance_of,
    check_tasks,
    data_sets_of,
    definition_of,
    evaluation_items,
    item_hashes,
    load_task,
    named_data_sets,
    settings_of,
)
from deprune.downstream.base import Read, Score, Scorer, Size, require_distinct
from deprune.embedded import task_items as embedded
from deprune.model.source import ModelConfig, load_tokenizer
from deprune.record.schema import ACCURACY, SHARE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from deprune.data.overlap import EvaluatedText
    from deprune.model.load import LoadedModel
    from deprune.model.pruned import PrunedModel

log = logging.getLogger(__name__)

METRICS = {"acc": ACCURACY, "acc_norm": None}
"""Metric of lm-eval -> the response that it is a part of; the first must be there. The second takes the choice of best
log-likelihood per character."""

OUTPUT_TYPES = ("multiple_choice", "loglikelihood")
"""Kinds of tasks whose answers are given and not generated: of several choices, or of one text."""

REQUEST_SECONDS = 0.7e-3
"""Time of lm-eval and the tokenizer for one request, beside the model; rounded from runs on one core of a server."""

MOST_TASKS = 256
"""Number of tasks that stay built; groups have dozens, and a sweep goes through all of them for every job."""

MOST_TEXTS = 2**15
"""Number of texts whose tokens are kept between pruned models."""


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(Scorer):
    """Shares of items whose right choice, or one given answer, is the likeliest, by lm-eval's tasks and metrics.

    Attributes:
        tasks: lm-eval task names, each with as many examples before an item as its definition says, mostly none.
        limit: Number of items of each task, from the first; by default all.
        batch_size: Number of sequences that go through the model at once.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        require_distinct(self.tasks, "eval.tasks")

    def subjects(self) -> Sequence[str]:
        """Returns the tasks."""
        return self.tasks

    def identity(self, key: str) -> dict[str, Any]:
        """Returns the settings that identities of runs have held from the first."""
        return {"tasks": sorted(self.tasks), "limit": self.limit}

    def check(self, memory: Memory) -> None:
        """Builds the tasks; raises a ConfigError where one has no accuracy, a DataError where it cannot be had."""
        check_definitions(self.tasks)
        for task in self.tasks:
            built = _task(task, memory)
            _require_accuracy(task, built.OUTPUT_TYPE, built.aggregation(), _shares(built))

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns the requests of the tasks: counted of embedded ones, known of the usual ones."""
        unknown = tuple(task for task in self.tasks if task not in {*embedded.WRITERS, *known()["tasks"]})
        memory.once(check_definitions, unknown)
        for task in unknown:
            memory.once(refuse_scripts, data_sets_of(task))
        args = self.limit, config, memory
        counts = [memory.keeping(MOST_TASKS, _requests, task, *args) for task in self.tasks if task not in unknown]
        n_items, n_requests, n_tokens = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
        longest = max((tokens // max(requests, 1) for _, requests, tokens in counts), default=0)
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
        check_definitions(self.tasks)
        yield from ((data, (load_task, task)) for task in self.tasks for data in named_data_sets(task))

    def texts(self, loaded: LoadedModel, memory: Memory) -> Iterator[EvaluatedText]:
        """Yields the items of every task with their right answers."""
        from deprune.data.overlap import EvaluatedText

        for task in self.tasks:
            texts = tuple(text for asked in self._asked(task, memory) for text in asked.texts)
            loaded.memory.keeping(MOST_TASKS, _say_cut, task, texts, loaded.tokenizer, loaded.facts.context)
            yield loaded.memory.keeping(MOST_TASKS, EvaluatedText.of_items, task, texts, loaded.tokenizer)

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        """Lets lm-eval ask one model after the other."""
        return [self._rows(subject, pruned, memory) for pruned in models]

    def _rows(self, task: str, pruned: PrunedModel, memory: Memory) -> list[Score]:
        from lm_eval import evaluator
        from lm_eval.api.metrics import mean_stderr
        from lm_eval.defaults import DEFAULT_OTHER_SEED

        loaded, built = pruned.loaded, _task(task, memory)
        harness = loaded.memory.keeping(1, _harness_model, loaded, self.batch_size)
        built.set_fewshot_seed(DEFAULT_OTHER_SEED)  # as its command does, for every model anew
        with pruned.module():
            # Of standard errors by resampling, which it does in many processes, none is used.
            results = evaluator.evaluate(harness, {"tasks": {task: built}}, limit=self.limit, bootstrap_iters=0)
        assert results is not None
        samples = results["samples"][task]
        item_set, version = digest_of([sample["doc_hash"] for sample in samples]), str(results["versions"].get(task))
        chance, rows = chance_of(built, self._asked(task, memory)), []
        for metric in _shares(built):
            items = tuple(float(sample[metric]) for sample in samples)
            _require_finite(task, metric, items, samples)
            rows.append(Score(
                task=task, metric=metric, response=METRICS[metric], value=fmean(items),
                stderr=mean_stderr(items) if len(items) > 1 else None, unit=SHARE, higher_is_better=True, chance=chance,
                n_items=len(items), item_set=item_set, version=version, items=items,
            ))  # fmt: skip
        return rows

    def _asked(self, task: str, memory: Memory) -> list[Asked]:
        return memory.keeping(MOST_TASKS, evaluation_items, _task(task, memory), self.limit)


def check_definitions(tasks: Sequence[str]) -> None:
    """Refuses tasks that there are not, or whose definitions state metrics without accuracy; builds none."""
    check_tasks(tasks)
    for task in tasks:
        stated = settings_of(task)
        if metrics := [str(metric["metric"]) for metric in stated.get("metric_list") or ()]:
            _require_accuracy(task, stated["output_type"], metrics, metrics)


def _require_accuracy(task: str, output_type: str, metrics: Collection[str], shares: Collection[str]) -> None:
    """Raises a ConfigError where a task lacks accuracy: generates answers, or has no such metric, or no mean of it."""
    if output_type not in OUTPUT_TYPES or next(iter(METRICS)) not in shares:
        names = ", ".join(map(str, metrics)) or "none"
        raise ConfigError(
            f"The task '{task}' has no acc, a mean over items, of given answers: it is a {output_type} task with the "
            f"metrics {names}; take it out of eval.tasks."
        )


def _shares(built: Any) -> list[str]:
    """Returns which of the metrics that are taken a task has, as means over its items."""
    from lm_eval.api.metrics import mean

    return [metric for metric in METRICS if built.aggregation().get(metric) is mean]


def _require_finite(task: str, metric: str, items: Sequence[float], samples: Sequence[Any]) -> None:
    """Raises a DepruneError where values are not finite, or choices were made among numbers that are none."""
    asked = ([answer[0] for answer in sample["filtered_resps"]] for sample in samples)
    if not all(map(math.isfinite, items)) or any(math.isnan(value) for values in asked for value in values):
        raise DepruneError(
            f"The {metric} on {task} is not finite, or rests on log-likelihoods that are not; use dtype=float32 or "
            "bfloat16, and check that the weights are whole."
        )


def _say_cut(task: str, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None) -> None:
    """Logs how many items do not fit into the context, of which lm-eval then drops the beginning."""
    if context is None:
        return
    long = (text for text in texts if len(text.encode()) > context)  # others have no more tokens than that
    if n_cut := sum(len(tokenizer.encode(text, verbose=False)) > context + 1 for text in long):
        log.warning(
            "%d of %d items of %s are longer than the context of %d tokens and lose their beginning.",
            n_cut, len(texts), task, context,
        )  # fmt: skip


def _requests(task: str, limit: int | None, config: ModelConfig, memory: Memory) -> tuple[int, int, int]:
    """Returns the numbers of items, requests and tokens of an embedded task, or of one that is known."""
    if task in embedded.WRITERS:
        items = [*embedded_items(task, "test", embedded.N_ITEMS["test"])][:limit]
        texts = [context + choice for item in items for context, choice in item.choices]
        tokens = memory.once(load_tokenizer, config)(texts)["input_ids"]
        return len(items), len(texts), sum(map(len, tokens))
    facts = known()["tasks"][task]
    n_items = min(limit or facts["items"], facts["items"])
    n_requests = round(n_items * facts["requests"] / facts["items"])
    return n_items, n_requests, n_requests * facts["characters"] // CHARACTERS_PER_TOKEN


def _task(task: str, memory: Memory) -> Any:
    return memory.keeping(MOST_TASKS, load_task, task)


def _harness_model(loaded: LoadedModel, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    if loaded.tokenizer.bos_token_id is None and loaded.tokenizer.eos_token_id is None:
        lacks = f"The tokenizer of {loaded.config.label} has neither a start nor an end token, and lm-eval needs one"
        raise UnsupportedModelError(f"{lacks}; set eos_token in its tokenizer_config.json.")
    tokenizer = copy.deepcopy(loaded.tokenizer)  # which is given a token for filling where it has none
    harness = HFLM(
        pretrained=loaded.stack.model,
        backend="causal",  # also for a decoder whose type has an encoder in other models
        tokenizer=tokenizer,
        batch_size=batch_size,
        max_length=loaded.facts.context,
    )
    # Every pruned model is asked the same; turning that into tokens was a quarter of the time of a small one.
    harness.tok_encode = functools.lru_cache(maxsize=MOST_TEXTS)(harness.tok_encode)
    # lm-eval offers no other way to keep its progress bars out of pipes and log files.
    harness.loglikelihood = functools.partial(harness.loglikelihood, disable_tqdm=not sys.stderr.isatty())
    return harness
