"""What a scorer is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import with_config

from deprune.core.build import name_of
from deprune.core.errors import ConfigError
from deprune.core.memory import Memory
from deprune.data.hub import DataSet
from deprune.record.schema import STRICT

if TYPE_CHECKING:
    from deprune.data.overlap import EvaluatedText
    from deprune.model.load import LoadedModel
    from deprune.model.pruned import PrunedModel
    from deprune.model.source import ModelConfig


Read = tuple[Callable[[Any], object], Hashable]
"""A call that reads data, which fills the local cache, as a function and its argument, to be told from others."""


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one pruned model on one task or corpus; a row of its record, but for the dense model's value.

    Attributes:
        response: The response of the analysis that it is a part of, such as `accuracy`; None for none.
        value: Mean over items, or what was counted or timed.
        stderr: Its standard error over items; None where it is not sampled from items.
        chance: What guessing gives; None where there is no such level.
        n_items: Number of items or windows; 0 for what is counted or timed.
        item_set: Hash of the items, in order.
        version: Version of the task's definition.
        items: The value of every item.
    """

    task: str
    metric: str
    response: str | None
    value: float
    stderr: float | None
    unit: str
    higher_is_better: bool
    chance: float | None = None
    n_items: int = 0
    item_set: str = ""
    version: str = "1"
    items: tuple[float, ...] = ()


@dataclass(frozen=True)
class Size:
    """What a scorer reads for one pruned model.

    Attributes:
        n_items: Number of items or windows.
        n_sequences: Number of sequences that go through the model.
        n_tokens: Number of their tokens.
        n_at_once: Most tokens whose logits are in memory at once.
        seconds: Time beside that of the model [s].
        unknown: Subjects whose size is not known here; they are left out.
    """

    n_items: int = 0
    n_sequences: int = 0
    n_tokens: int = 0
    n_at_once: int = 0
    seconds: float = 0.0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scorer(ABC):
    """Turns pruned models into rows of metrics; its fields are its settings. Plug-in of `scorers` in `conf/eval`.

    A scorer is asked for the rows of one subject (a task, a corpus) at a time, so that what it returns does not
    depend on what else is asked for.

    Attributes:
        version: Raised when a formula changes, so that old scores are not taken for new.
        is_kept: Whether scores may serve other runs of the same model; not where they are of this machine.
    """

    version: ClassVar[int] = 1
    is_kept: ClassVar[bool] = True

    @abstractmethod
    def subjects(self) -> Sequence[str]:
        """Returns what it was asked for: the tasks or corpora, each of which must get a row."""

    @abstractmethod
    def score(self, subject: str, models: Sequence[PrunedModel], memory: Memory) -> Sequence[Sequence[Score]]:
        """Returns the rows of each of several pruned models of one dense model; `memory` serves other scorers too."""

    def builds_models(self) -> bool:
        """Whether it asks pruned models for their `module()`, so that blocks must be taken out for good."""
        return True

    def check(self, memory: Memory) -> None:  # noqa: B027 (most have nothing to check)
        """Raises a DepruneError where a subject does not exist, cannot be had, or has not the metric."""

    def definition(self, subject: str, loaded: LoadedModel, memory: Memory) -> Any:
        """Returns what the scores on a subject are a function of beside the model: definition, items, settings."""
        return asdict(self)

    def size(self, config: ModelConfig, context: int | None, memory: Memory) -> Size:
        """Returns what it will read, as far as it is known without a model or a network.

        The model tells its tokenizer, and its longest sequence, `context` [tokens], or None where it states no limit.
        Raises a ConfigError where a subject does not exist.
        """
        return Size(unknown=tuple(self.subjects()))

    def shortened(self, n_items: int) -> Self:
        """Returns the scorer with so many items of each subject at most, to be timed; itself where it has none."""
        return self

    def identity(self, key: str) -> dict[str, Any]:
        """Returns its part of a run's identity, by its key in the configuration."""
        return {key: {"name": name_of(self), "version": self.version, **asdict(self)}}

    def data_sets(self) -> Iterable[tuple[DataSet, Read]]:
        """Yields the data sets on the Hub that it reads, each with the call that does, without reading them."""
        return ()

    def texts(self, loaded: LoadedModel, memory: Memory) -> Iterator[EvaluatedText]:
        """Yields what it reads, so that calibration on the same texts is noticed."""
        yield from ()


def require_distinct(names: Sequence[str], setting: str) -> None:
    """Raises a ConfigError where a setting names a task or corpus twice, which then would count twice."""
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(f"{setting} names {', '.join(repeated)} more than once; name each once.")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What a pruned model is evaluated on: settings that scorers refer to, and the scorers.

    Attributes:
        tasks: lm-eval task names.
        limit: Number of items of each task, from the first; by default all.
        corpora: Held-out corpora for perplexity; see `deprune.data.heldout`.
        windows: Number of windows of each corpus, from the first; by default all.
        batch_size: Number of sequences that go through the model at once.
        speed: Measure tokens per second.
        scorers: Key -> scorer, in the order of the rows.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    corpora: tuple[str, ...] = ()
    windows: int | None = None
    batch_size: int = 64
    speed: bool = False
    scorers: dict[str, Any] = field(default_factory=dict)

    def builds_models(self) -> bool:
        """Whether a scorer that has something to score asks for models without their blocks."""
        return any(scorer.builds_models() for scorer in self.scorers.values() if scorer.subjects())

    def identity(self) -> dict[str, Any]:
        """Returns the part of a run's identity that says what it is scored on."""
        return {k: v for key, scorer in self.scorers.items() for k, v in scorer.identity(key).items()}
