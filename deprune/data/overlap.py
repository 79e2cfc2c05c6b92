"""Calibration data that is in the evaluation data, which makes scores too good.

Two calibration and evaluation texts overlap where they share a window of 50 tokens, or are the same item.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deprune.data.corpus import Item
from deprune.data.samples import CalibrationSet

N_TOKENS = 50
"""Length of a window that does not occur twice by chance [tokens]."""


@dataclass(frozen=True, eq=False)
class EvaluatedText:
    """What a task or corpus that models are scored on consists of.

    Attributes:
        name: The task or corpus.
        hashes: Of its windows of 50 tokens, sorted, distinct.
        items: Texts of its items with their right answers.
        largest: The largest id among its tokens; -1 where there are none.
    """

    name: str
    hashes: NDArray[np.uint64]
    items: frozenset[str] = frozenset()
    largest: int = -1

    @classmethod
    def of_items(cls, name: str, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Self:
        """Returns the text of some items."""
        ids = [np.array(tokenizer.encode(text, verbose=False), dtype=np.int64) for text in texts]
        hashes = np.unique(np.concatenate([*map(window_hashes, ids), np.empty(0, np.uint64)]))
        return cls(name, hashes, frozenset(texts), max((int(row.max(initial=-1)) for row in ids), default=-1))

    @classmethod
    def of_windows(cls, name: str, ids_RT: Tensor) -> Self:
        """Returns the text of some token windows."""
        hashes = np.unique(np.concatenate([window_hashes(row.numpy()) for row in ids_RT]))
        return cls(name, hashes, largest=int(ids_RT.max()))


def overlap_warnings(
    calibration: CalibrationSet, items: Sequence[Item], evaluated: Iterable[EvaluatedText]
) -> list[str]:
    """Returns a sentence for each evaluated text with which a calibration set, or one of its items, overlaps."""
    rows = [window_hashes(row.numpy()) for row in calibration.ids_RT]
    warnings = []
    for text in evaluated:
        n_windows = sum(bool(np.isin(row, text.hashes).any()) for row in rows)
        n_items = sum(item.text in text.items for item in items)
        if n_windows or n_items:
            shared = max(n_windows // calibration.rows_per_sample, n_items)
            warnings.append(
                f"{shared} of {calibration.n_samples} calibration samples share an item or {N_TOKENS} tokens "
                f"with the evaluation data of {text.name}."
            )
    return warnings


def window_hashes(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns a polynomial hash, modulo 2^64, of each window of 50 tokens."""
    if len(ids) < N_TOKENS:
        return np.empty(0, np.uint64)
    powers = np.cumprod(np.full(N_TOKENS, 0x9E3779B97F4A7C15, dtype=np.uint64))
    windows = np.lib.stride_tricks.sliding_window_view(ids.astype(np.uint64), N_TOKENS)
    return np.asarray(windows @ powers, dtype=np.uint64)
