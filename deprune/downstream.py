"""Reasoning accuracy of pruned models with lm-eval, remembered by subset.

The pruned model stays in memory; lm-eval is used as a library. Each task is evaluated on its
own, so that its batches, and with them its rounding, do not depend on what else is asked for.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deprune.errors import ConfigError
from deprune.files import write_atomically
from deprune.fingerprint import digest_of, file_name_of
from deprune.hub import hub_errors, require_hub
from deprune.model.load import LoadedModel
from deprune.model.prune import blocks_removed
from deprune.nearest import unknown_name
from deprune.subset import BlockSubset

EMBEDDED_TASKS = Path(__file__).parent / "embedded" / "tasks"
METRICS = ("acc", "acc_norm")
"""Accuracy, and accuracy of the choice with the best log-likelihood per byte."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Which tasks a pruned model is evaluated on.

    Attributes:
        tasks: lm-eval task names, zero-shot.
        limit: Number of items of each task, from the first; by default all.
        batch_size: Number of sequences that go through the model at once.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric of one task.

    Attributes:
        value: Mean over items.
        stderr: Its standard error as lm-eval gives it.
        correct: One digit per item, `1` where the model was right.
    """

    value: float
    stderr: float
    correct: str


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """The scores of one model on one task.

    Attributes:
        n_items: Number of items.
        item_set: Hash of the items, in order.
        version: Version of the task's definition.
        metrics: Metric name -> score; all metrics are better when higher.
    """

    n_items: int
    item_set: str
    version: str
    metrics: dict[str, MetricScore] = field(default_factory=dict)


class DownstreamEvaluator:
    """Evaluates subsets of one model, each (subset, task, limit) once, whoever asks.

    Results lie in `<folder>/<subset>.json`, readable by anyone and written atomically; when
    two jobs compute the same at once, the same numbers are written twice. A `fresh` evaluator
    computes everything anew.
    """

    def __init__(
        self, results_dir: Path, loaded: LoadedModel, model: str, config: EvalConfig, *, fresh: bool = False
    ) -> None:
        name = f"{file_name_of(model)}-{loaded.facts.revision[:12]}-{loaded.dtype}"
        self._folder = results_dir / "downstream" / name
        self._loaded = loaded
        self._config = config
        self._fresh = fresh

    def evaluate(self, subset: BlockSubset) -> dict[str, TaskScores]:
        """Returns the scores of the pruned model by task, computing only what is not stored."""
        path = self._folder / f"{subset.bits()}.json"
        stored: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        missing = [t for t in self._config.tasks if self._fresh or self._key(t) not in stored]
        if missing:
            with blocks_removed(self._loaded.stack.model, subset):
                stored |= {self._key(t): asdict(self._compute(t)) for t in missing}
            write_atomically(path, json.dumps(stored, indent=1))
        return {t: _task_scores(stored[self._key(t)]) for t in self._config.tasks}

    def _key(self, task: str) -> str:
        return task if self._config.limit is None else f"{task}, first {self._config.limit}"

    def _compute(self, task: str) -> TaskScores:
        from lm_eval import evaluator

        results = evaluator.evaluate(
            _harness_model(self._loaded, self._config.batch_size),
            {"tasks": {task: load_tasks((task,))[task]}},
            limit=self._config.limit,
        )
        assert results is not None
        values, samples = results["results"][task], results["samples"][task]
        metrics = {
            metric: MetricScore(
                value=float(values[f"{metric},none"]),
                stderr=float(values[f"{metric}_stderr,none"]),
                correct="".join(str(int(sample[metric])) for sample in samples),
            )
            for metric in METRICS
            if f"{metric},none" in values
        }
        return TaskScores(
            n_items=len(samples),
            item_set=digest_of([sample["doc_hash"] for sample in samples]),
            version=str(results["versions"].get(task)),
            metrics=metrics,
        )


def _task_scores(stored: dict[str, Any]) -> TaskScores:
    return TaskScores(**{**stored, "metrics": {m: MetricScore(**s) for m, s in stored["metrics"].items()}})


def check_tasks(tasks: Sequence[str]) -> None:
    """Makes sure that tasks exist, without building them.

    Raises:
        ConfigError: lm-eval has no such task.
    """
    for task in tasks:
        known = _manager(_is_embedded(tasks)).all_subtasks
        if task not in known:
            raise ConfigError(unknown_name("evaluation task", task, known))


@functools.lru_cache(maxsize=32)
def load_tasks(tasks: tuple[str, ...]) -> dict[str, Any]:
    """Returns lm-eval's task objects, built once per process.

    Raises:
        DataError: The data of a task cannot be had from the Hub.
    """
    embedded = _is_embedded(tasks)
    wanted = f"data of the evaluation task {', '.join(tasks)}"
    if not embedded:
        require_hub("the evaluation data", "eval=mini or eval=none")
    with hub_errors(wanted):
        loaded: dict[str, Any] = _manager(embedded).load(list(tasks))["tasks"]
    return loaded


def _is_embedded(tasks: Sequence[str]) -> bool:
    return all((EMBEDDED_TASKS / f"{task}.yaml").is_file() for task in tasks)


@functools.cache
def _manager(embedded_only: bool) -> Any:
    """Returns lm-eval's index of tasks; reading all of its own takes seconds."""
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=str(EMBEDDED_TASKS), include_defaults=not embedded_only)


@functools.lru_cache(maxsize=1)
def _harness_model(loaded: LoadedModel, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=loaded.stack.model, tokenizer=loaded.tokenizer, batch_size=batch_size)
    # lm-eval offers no other way to keep its progress bars out of pipes and log files.
    model.loglikelihood = functools.partial(model.loglikelihood, disable_tqdm=not sys.stderr.isatty())
    return model
