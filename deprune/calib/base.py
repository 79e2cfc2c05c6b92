"""What a corpus is, and what a calibration set is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


class Corpus(ABC):
    """A finite, ordered collection of documents; the plug-in point of `conf/calib`."""

    @abstractmethod
    def documents(self) -> Sequence[str]:
        """Returns all documents, always in the same order.

        Raises:
            DataError: The documents cannot be had.
        """

    @abstractmethod
    def identity(self) -> dict[str, str | None]:
        """Returns what determines the documents, without paths of this machine."""


@dataclass(frozen=True, kw_only=True)
class CalibConfig:
    """A calibration configuration.

    Attributes:
        name: The corpus in records, tables and plots.
        corpus: Where the documents come from.
        n_samples: Number of token windows.
        seq_len: Length of a window [tokens]; by default the model's context, at most 2,048.
        seed: Seed of the draw; independent of the seed of the search.
    """

    name: str
    corpus: Corpus
    n_samples: int
    seq_len: int | None
    seed: int


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Token windows drawn from a corpus.

    Attributes:
        ids_BT: Token ids, int64 on the CPU, `(n_samples, seq_len)`.
        sample_id: Identity of the draw, a hash of raw documents; the same for every sample
            count, length and search, and different for every corpus, seed and model.
        token_hash: Hash of the token ids themselves.
    """

    ids_BT: Tensor
    sample_id: str
    token_hash: str
