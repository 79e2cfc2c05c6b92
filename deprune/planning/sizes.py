"""How long calibration samples and evaluation data are, before they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from deprune.data.draw import draw_items
from deprune.data.heldout import HUB_CORPORA, heldout_windows, window_length
from deprune.data.items import EmbeddedItems, InstructionItems, TaskItems
from deprune.data.tasks import EMBEDDED_TASKS, check_tasks, evaluation_items
from deprune.model.source import ModelConfig, load_tokenizer
from deprune.planning.architecture import Architecture, known
from deprune.run.config import RunConfig

CHARACTERS_PER_TOKEN = 4
"""Of English text in the vocabularies of today's models, roughly; used where a tokenizer cannot be run here."""


@dataclass(frozen=True)
class SampleSize:
    """One calibration sample.

    Attributes:
        n_tokens: Number of tokens that go through the blocks, filling included.
        n_scored: Number of them that go through the head.
    """

    n_tokens: int
    n_scored: int


@dataclass(frozen=True)
class EvalSize:
    """What a pruned model is scored on.

    Attributes:
        n_items: Number of items of all tasks.
        n_requests: Number of their contexts with one choice.
        n_tokens: Number of tokens of all requests.
        n_longest: Number of tokens of the longest mean request.
        n_windows: Number of windows of held-out corpora.
        unknown: Names of tasks whose size is not known here, and which are left out.
    """

    n_items: int = 0
    n_requests: int = 0
    n_tokens: int = 0
    n_longest: int = 0
    n_windows: int = 0
    unknown: tuple[str, ...] = ()


def check_known_tasks(tasks: Sequence[str]) -> None:
    """Makes sure that tasks exist; reading lm-eval's index takes seconds, so that those in the table are not looked up.

    Raises:
        ConfigError: lm-eval has no such task.
    """
    check_tasks([task for task in tasks if task not in known()["tasks"]])


def sample_size(config: RunConfig, seq_len: int) -> SampleSize:
    """Returns the size of a calibration sample.

    Raises:
        DataError: The embedded items are too few.
    """
    corpus = config.calib.corpus
    if not config.objective.needs_items:
        return SampleSize(seq_len, seq_len - 1)
    if isinstance(corpus, EmbeddedItems):
        drawn = draw_items(config.calib, seq_len, load_tokenizer(config.model), config.model.label)
        longest = max(item.n_tokens for item in drawn.identifying)
        return SampleSize(longest, max(sum(item.n_scored) for item in drawn.identifying))
    if isinstance(corpus, InstructionItems) and corpus.path in known()["items"]:
        return SampleSize(min(seq_len, known()["items"][corpus.path]["characters"] // CHARACTERS_PER_TOKEN), 8)
    if isinstance(corpus, TaskItems) and corpus.task in known()["tasks"]:
        task = known()["tasks"][corpus.task]
        n_choices = task["requests"] / task["items"]
        longest = round(n_choices * task["characters"] / CHARACTERS_PER_TOKEN)
        return SampleSize(min(seq_len, longest), round(4 * n_choices))
    return SampleSize(seq_len, 8)


@lru_cache(maxsize=32)
def eval_size(
    model: ModelConfig,
    tasks: tuple[str, ...],
    limit: int | None,
    corpora: tuple[str, ...],
    windows: int | None,
    length: int,
) -> EvalSize:
    """Returns the size of an evaluation.

    Args:
        model: The model, for its tokenizer.
        tasks: Names of tasks.
        limit: Most items of a task.
        corpora: Names of held-out corpora.
        windows: Most windows of a corpus.
        length: Length of a window [tokens].
    """
    n_items, n_requests, n_tokens, longest, unknown = 0, 0, 0, 0, []
    for task in tasks:
        if (EMBEDDED_TASKS / f"{task}.yaml").is_file():
            items = evaluation_items(task, limit)
            encoded = [
                len(ids)
                for item in items
                for ids in load_tokenizer(model)([a + b for a, b in item.choices])["input_ids"]
            ]
            sizes = len(items), len(encoded), sum(encoded)
        elif task in known()["tasks"]:
            facts = known()["tasks"][task]
            n = min(limit or facts["items"], facts["items"])
            requests = round(n * facts["requests"] / facts["items"])
            sizes = n, requests, requests * facts["characters"] // CHARACTERS_PER_TOKEN
        else:
            unknown.append(task)
            continue
        n_items, n_requests, n_tokens = n_items + sizes[0], n_requests + sizes[1], n_tokens + sizes[2]
        longest = max(longest, sizes[2] // max(sizes[1], 1))
    n_windows = sum(_n_windows(model, corpus, windows, length) for corpus in corpora)
    return EvalSize(n_items, n_requests, n_tokens, longest, n_windows, tuple(unknown))


def size_of_evaluation(config: RunConfig, architecture: Architecture) -> EvalSize:
    """Returns the size of a job's evaluation."""
    of = config.eval
    length = window_length(architecture.facts.context)
    return eval_size(config.model, of.tasks, of.limit, of.corpora, of.windows, length)


def _n_windows(model: ModelConfig, corpus: str, most: int | None, length: int) -> int:
    if corpus not in HUB_CORPORA:
        return len(heldout_windows(corpus, length, most, load_tokenizer(model)))
    facts: dict[str, int] = known()["corpora"][corpus]
    fitting = facts["characters"] // CHARACTERS_PER_TOKEN // length
    return min(fitting, facts.get("windows", fitting), most or fitting)
