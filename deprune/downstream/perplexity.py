"""Perplexity on held-out corpora, by the subset evaluator: pruned models of one dense model share their blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deprune.core.errors import DepruneError
from deprune.core.fingerprint import digest_of_bytes
from deprune.core.memory import Memory
from deprune.data.heldout import HUB_CORPORA, check_corpora, fetch_corpus, heldout_windows, window_length
from deprune.data.hub import DataSet
from deprune.data.known import CHARACTERS_PER_TOKEN, known
from deprune.downstream.base import Read, Score, Scorer, Size, require_distinct
from deprune.evaluator.base import Evaluation, EvaluatorConfig
from deprune.model.source import ModelConfig, load_tokenizer
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import LOG_PERPLEXITY, NATS_PER_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from deprune.data.overlap import EvaluatedText
    from deprune.data.samples import CalibrationSet
    from deprune.evaluator.evaluator import SubsetEvaluator
    from deprune.model.load import LoadedModel
    from deprune.model.pruned import PrunedModel

MOST_CORPORA = 16


@dataclass(frozen=True, kw_only=True)
class Perplexity(Scorer):
    """Mean negative log-likelihood of a token of each held-out corpus, by the protocol of `deprune.data.heldout`.

    Attributes:
        corpora: Names of held-out corpora.
        windows: Number of windows of each corpus, from the first; by default all.
    """

    corpora: tuple[str, ...] = ()
    windows: int | None = None

    def __post_init__(self) -> None:
        require_distinct(self.corpora, "eval.corpora")

    def subjects(self) -> Sequence[str]:
        """Returns the corpora."""
        return self.corpora

    def builds_models(self) -> bool:
        """Returns that windows go through the stack."""
        return False

    def identity(self, key: str) -> dict[str, Any]:
        """Returns the settings that identities of runs have held from the first."""
        return {"corpora": sorted(self.corpora), "windows": self.windows}

    def check(self, memory: Memory) -> None:
        """Refuses corpora that there are not, with a ConfigError."""
        check_corpora(self.corpora)

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns the windows: counted of embedded corpora, known of the others."""
        self.check(memory)
        args = (length := window_length(context)), self.windows, config, memory
        n_windows = sum(memory.keeping(MOST_CORPORA, _n_windows, name, *args) for name in self.corpora)
        return Size(n_items=n_windows, n_sequences=n_windows, n_tokens=n_windows * length)

    def shortened(self, n_items: int) -> Perplexity:
        """Returns the scorer with few windows."""
        return replace(self, windows=min(n_items, self.windows or n_items))

    def definition(self, subject: str, loaded: LoadedModel, memory: Memory) -> Any:
        """Returns the loss and the windows, with the number of them that go through the model at once."""
        return [NegativeLogLikelihood().identity(), _evaluator(loaded, self._windows(subject, loaded)).name_samples()]

    def data_sets(self) -> Iterator[tuple[DataSet, Read]]:
        """Yields the data sets of the corpora of the Hub."""
        yield from ((HUB_CORPORA[name].data, (fetch_corpus, name)) for name in self.corpora if name in HUB_CORPORA)

    def texts(self, loaded: LoadedModel, memory: Memory) -> Iterator[EvaluatedText]:
        """Yields the windows of every corpus."""
        from deprune.data.overlap import EvaluatedText

        for corpus in self.corpora:
            ids_RT = self._windows(corpus, loaded).ids_RT
            yield loaded.memory.keeping(MOST_CORPORA, EvaluatedText.of_windows, corpus, ids_RT)

    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> list[list[Score]]:
        """Evaluates all models of the same weights at once; raises a DepruneError where a perplexity is not finite."""
        found: dict[PrunedModel, list[Score]] = {}
        for loaded in dict.fromkeys(pruned.loaded for pruned in models):
            alike = [pruned for pruned in models if pruned.loaded is loaded]
            windows = self._windows(subject, loaded)
            evaluations = _evaluator(loaded, windows).evaluate([pruned.subset for pruned in alike])
            found |= {p: [_row(subject, of, windows.token_hash)] for p, of in zip(alike, evaluations, strict=True)}
        return [found[pruned] for pruned in models]

    def _windows(self, corpus: str, loaded: LoadedModel) -> CalibrationSet:
        length = window_length(loaded.facts.context)
        return loaded.memory.keeping(MOST_CORPORA, _windows, corpus, length, self.windows, loaded.tokenizer)


def _row(corpus: str, evaluation: Evaluation, item_set: str) -> Score:
    if not math.isfinite(evaluation.loss):
        raise DepruneError(f"The perplexity on {corpus} is not finite; use dtype=float32 or bfloat16.")
    losses = tuple(s / c for s, c in zip(evaluation.sums, evaluation.counts, strict=True))
    return Score(
        task=corpus, metric="log_perplexity", response=LOG_PERPLEXITY, value=evaluation.loss,
        stderr=evaluation.stderr, unit=NATS_PER_TOKEN, higher_is_better=False, n_items=len(losses),
        item_set=item_set, items=losses,
    )  # fmt: skip


def _n_windows(corpus: str, length: int, most: int | None, config: ModelConfig, memory: Memory) -> int:
    if corpus not in HUB_CORPORA:
        return len(heldout_windows(corpus, length, most, memory.once(load_tokenizer, config)))
    facts: dict[str, int] = known()["corpora"][corpus]
    fitting = facts["characters"] // CHARACTERS_PER_TOKEN // length
    return min(fitting, facts.get("windows", fitting), most or fitting)


def _windows(corpus: str, length: int, most: int | None, tokenizer: PreTrainedTokenizerBase) -> CalibrationSet:
    from deprune.data.samples import CalibrationSet

    ids_RT = heldout_windows(corpus, length, most, tokenizer)
    return CalibrationSet(ids_RT, corpus, digest_of_bytes([ids_RT.numpy().tobytes()]))


def _evaluator(loaded: LoadedModel, windows: CalibrationSet) -> SubsetEvaluator:
    from deprune.evaluator.evaluator import SubsetEvaluator

    return SubsetEvaluator(loaded.stacks, windows, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(None))
