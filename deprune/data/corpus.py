"""What a corpus is: documents or multiple-choice items, of which calibration sets are drawn."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from omegaconf import OmegaConf

from deprune.core.build import build_target
from deprune.core.errors import ConfigError
from deprune.data.hub import DataSet


@dataclass(frozen=True)
class SampleSize:
    """One calibration sample, as far as it costs time and memory.

    Attributes:
        n_tokens: Number of tokens that go through the blocks, filling included.
        n_scored: Number of them that go through the head.
    """

    n_tokens: int
    n_scored: int


@dataclass(frozen=True)
class Item:
    """A multiple-choice item.

    Attributes:
        choices: What precedes each choice, and the text of the choice; most often all contexts are the same.
        answer: Index of the right choice.
    """

    choices: tuple[tuple[str, str], ...]
    answer: int

    @property
    def text(self) -> str:
        """The item with its right choice, as plain text."""
        return "".join(self.choices[self.answer])


@dataclass(frozen=True)
class ItemTokens:
    """The tokens of one item.

    Attributes:
        shared: The tokens with which all choices begin.
        rests: What follows for each choice: further context, then the text of the choice.
        n_scored: For each choice, the number of tokens of its text: the last of its rest.
        answer: Index of the right choice.
    """

    shared: tuple[int, ...]
    rests: tuple[tuple[int, ...], ...]
    n_scored: tuple[int, ...]
    answer: int

    @property
    def n_tokens(self) -> int:
        """Number of tokens in the shared layout."""
        return len(self.shared) + sum(map(len, self.rests))


@dataclass(frozen=True, kw_only=True)
class Corpus(ABC):
    """A finite, ordered collection of documents; the plug-in point of `conf/calib`."""

    has_items: ClassVar[bool] = False
    """Whether the documents are multiple-choice items as well."""

    @abstractmethod
    def documents(self) -> Sequence[str]:
        """Returns all documents, always in the same order; raises a DataError where they cannot be had."""

    def identity(self) -> dict[str, Any]:
        """Returns what determines the documents, without paths of this machine; by default all fields."""
        return asdict(self)

    def data_sets(self) -> Sequence[DataSet]:
        """Returns the data sets on the Hub that the documents come from, without reading them."""
        return ()

    def items(self) -> Sequence[Item]:
        """Returns the documents as items; raises what `documents` does, and a ConfigError where they are none."""
        raise ConfigError(f"The corpus {type(self).__name__} holds text, not multiple-choice items.")

    def item_size(self, seq_len: int, draw: Callable[[], Sequence[ItemTokens]]) -> SampleSize:
        """Returns the size of an item, with the filling up to the longest, as far as it is known without a network.

        No item is longer than a window. `draw` gives the items of a draw, where they are on this machine anyway.
        """
        return SampleSize(seq_len, 8)


@dataclass(frozen=True, kw_only=True)
class CalibConfig:
    """A calibration configuration.

    Attributes:
        name: The corpus in records, tables and plots.
        corpus: Where the documents come from.
        n_samples: Number of token windows, or of items.
        seq_len: Length of a window [tokens]; by default the model's context, at most 2,048. Longer items are left out.
        seed: Seed of the draw; independent of the seed of the search.
    """

    name: str
    corpus: Corpus
    n_samples: int
    seq_len: int | None
    seed: int


def corpus_of(calib: Any) -> Corpus:
    """Builds the corpus of a calibration configuration; raises what `build_target` does."""
    common = ("name", "n_samples", "seq_len", "seed")
    source = OmegaConf.masked_copy(calib, [str(k) for k in calib if k not in ("defaults", *common)])
    return build_target(source, Corpus, "calib", also=common)
