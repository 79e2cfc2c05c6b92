"""Reasoning accuracy of pruned models with lm-eval, and perplexity on held-out corpora, remembered by subset.

The pruned model stays in memory; lm-eval is used as a library. Each task is evaluated on its
own, so that its batches, and with them its rounding, do not depend on what else is asked for.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError, with_config

from deprune.core.errors import DepruneError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import digest_of, digest_of_bytes, file_name_of
from deprune.core.subset import BlockSubset
from deprune.data.heldout import heldout_windows, window_length
from deprune.data.samples import CalibrationSet
from deprune.data.tasks import load_task
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel
from deprune.model.prune import blocks_removed
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import STRICT

log = logging.getLogger(__name__)

TASK_METRICS = ("acc", "acc_norm")
"""Accuracy, and accuracy of the choice with the best log-likelihood per byte."""

LOG_PERPLEXITY = "log_perplexity"
"""Mean negative log-likelihood of a token of a held-out corpus [nat/token]."""

MOST_TEXTS = 2**15
"""Number of texts whose tokens are kept between pruned models."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What a pruned model is evaluated on.

    Attributes:
        tasks: lm-eval task names, zero-shot.
        limit: Number of items of each task, from the first; by default all.
        corpora: Held-out corpora for perplexity; see `deprune.data.heldout`.
        windows: Number of windows of each corpus, from the first; by default all.
        batch_size: Number of sequences that go through the model at once.
        speed: Measure tokens per second, dense and pruned.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    corpora: tuple[str, ...] = ()
    windows: int | None = None
    batch_size: int = 64
    speed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "corpora", tuple(self.corpora))


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """One metric of one task.

    Attributes:
        value: Mean over items.
        stderr: Its standard error over items; that of an accuracy as lm-eval gives it.
        correct: For an accuracy, one digit per item, `1` where the model was right.
        losses: For a perplexity, the mean loss of each window [nat/token].
    """

    value: float
    stderr: float
    correct: str = ""
    losses: tuple[float, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """The scores of one model on one task or held-out corpus.

    Attributes:
        n_items: Number of items or windows.
        item_set: Hash of the items or windows, in order.
        version: Version of the task's definition.
        metrics: Metric name -> score; accuracies are better when higher, perplexities when lower.
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

    Attributes:
        folder: Name of the folder below `downstream/` of the results.
    """

    def __init__(
        self, results_dir: Path, loaded: LoadedModel, model: str, config: EvalConfig, *, fresh: bool = False
    ) -> None:
        self.folder = f"{file_name_of(model)}-{loaded.facts.revision[:12]}-{loaded.dtype}"
        self._results_dir = results_dir
        self._loaded = loaded
        self._config = config
        self._fresh = fresh

    def evaluate(self, subset: BlockSubset) -> dict[str, TaskScores]:
        """Returns the scores of the pruned model by task or corpus, computing only what is not stored."""
        path = self._results_dir / "downstream" / self.folder / f"{subset.bits()}.json"
        stored = _read_scores(path)
        keys = {name: self._key(name) for name in (*self._config.tasks, *self._config.corpora)}
        missing = [name for name, key in keys.items() if self._fresh or key not in stored]
        if missing:
            stored |= {keys[name]: self._compute(name, subset) for name in missing}
            write_atomically(path, json.dumps({key: asdict(scores) for key, scores in stored.items()}, indent=1))
        return {name: stored[key] for name, key in keys.items()}

    def _key(self, name: str) -> str:
        if name in self._config.tasks:
            return name if self._config.limit is None else f"{name}, first {self._config.limit}"
        windows = "all" if self._config.windows is None else self._config.windows
        return f"{name}, {windows} windows of {window_length(self._loaded.facts.context)} tokens"

    def _compute(self, name: str, subset: BlockSubset) -> TaskScores:
        if name in self._config.corpora:
            return self._perplexity(name, subset)
        with blocks_removed(self._loaded.stack.model, subset):
            return self._accuracy(name)

    def _accuracy(self, task: str) -> TaskScores:
        from lm_eval import evaluator

        results = evaluator.evaluate(
            _harness_model(self._loaded, self._config.batch_size),
            {"tasks": {task: load_task(task)}},
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
            for metric in TASK_METRICS
            if f"{metric},none" in values
        }
        return TaskScores(
            n_items=len(samples),
            item_set=digest_of([sample["doc_hash"] for sample in samples]),
            version=str(results["versions"].get(task)),
            metrics=metrics,
        )

    def _perplexity(self, corpus: str, subset: BlockSubset) -> TaskScores:
        length = window_length(self._loaded.facts.context)
        ids_RT = heldout_windows(corpus, length, self._config.windows, self._loaded.tokenizer)
        windows = CalibrationSet(ids_RT, corpus, digest_of_bytes([ids_RT.numpy().tobytes()]))
        evaluator = SubsetEvaluator(
            self._loaded.stacks, windows, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(None)
        )
        (evaluation,) = evaluator.evaluate([subset])
        if not math.isfinite(evaluation.loss):
            raise DepruneError(f"The perplexity on {corpus} is not finite; use dtype=float32 or bfloat16.")
        losses = tuple(s / c for s, c in zip(evaluation.sums, evaluation.counts, strict=True))
        score = MetricScore(value=evaluation.loss, stderr=evaluation.stderr or 0.0, losses=losses)
        return TaskScores(
            n_items=len(ids_RT), item_set=windows.token_hash, version="1", metrics={LOG_PERPLEXITY: score}
        )


_STORED = TypeAdapter(dict[str, TaskScores])


def _read_scores(path: Path) -> dict[str, TaskScores]:
    """Returns the scores in a file; none where it is missing or damaged, since they can be computed again."""
    if not path.is_file():
        return {}
    try:
        return _STORED.validate_json(path.read_bytes())
    except ValidationError:
        log.warning("The scores in %s are damaged and are computed again.", path)
        return {}


@functools.lru_cache(maxsize=1)
def _harness_model(loaded: LoadedModel, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=loaded.stack.model, tokenizer=loaded.tokenizer, batch_size=batch_size)
    # Every pruned model is asked the same; turning that into tokens was a quarter of the time of a small one.
    model.tok_encode = functools.lru_cache(maxsize=MOST_TEXTS)(model.tok_encode)
    # lm-eval offers no other way to keep its progress bars out of pipes and log files.
    model.loglikelihood = functools.partial(model.loglikelihood, disable_tqdm=not sys.stderr.isatty())
    return model
