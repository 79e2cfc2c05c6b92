"""Calibration data that is in the evaluation data, which makes scores too good.

Two calibration and evaluation texts overlap where they share a window of 50 tokens, or are the same item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from deprune.data.corpus import Item
from deprune.data.heldout import heldout_windows
from deprune.data.samples import CalibrationSet
from deprune.data.tasks import evaluation_items

N_TOKENS = 50
"""Length of a window that does not occur twice by chance [tokens]."""


def overlap_warnings(
    calibration: CalibrationSet,
    items: Sequence[Item],
    evaluated: Iterable[tuple[str, NDArray[np.uint64], frozenset[str]]],
) -> list[str]:
    """Returns a sentence for each task or corpus that the calibration set overlaps with.

    Args:
        calibration: The calibration set.
        items: Its items, where it has any.
        evaluated: Name, window hashes and item texts of each task or corpus.
    """
    rows = [window_hashes(row.numpy()) for row in calibration.ids_RT]
    warnings = []
    for name, hashes, texts in evaluated:
        n_windows = sum(bool(np.isin(row, hashes).any()) for row in rows)
        n_items = sum(item.text in texts for item in items)
        if n_windows or n_items:
            shared = max(n_windows // calibration.rows_per_sample, n_items)
            warnings.append(
                f"{shared} of {calibration.n_samples} calibration samples share an item or {N_TOKENS} tokens "
                f"with the evaluation data of {name}."
            )
    return warnings


@lru_cache(maxsize=64)
def task_hashes(
    task: str, limit: int | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, NDArray[np.uint64], frozenset[str]]:
    """Returns name, window hashes and item texts of a task."""
    texts = [item.text for item in evaluation_items(task, limit)]
    windows = [window_hashes(np.array(tokenizer.encode(text, verbose=False))) for text in texts]
    return task, np.unique(np.concatenate([*windows, np.empty(0, np.uint64)])), frozenset(texts)


@lru_cache(maxsize=64)
def corpus_hashes(
    corpus: str, seq_len: int, n_windows: int | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, NDArray[np.uint64], frozenset[str]]:
    """Returns name and window hashes of a held-out corpus, and no items."""
    rows = heldout_windows(corpus, seq_len, n_windows, tokenizer)
    return corpus, np.unique(np.concatenate([window_hashes(row.numpy()) for row in rows])), frozenset()


def window_hashes(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns a polynomial hash, modulo 2^64, of each window of 50 tokens."""
    if len(ids) < N_TOKENS:
        return np.empty(0, np.uint64)
    powers = np.cumprod(np.full(N_TOKENS, 0x9E3779B97F4A7C15, dtype=np.uint64))
    windows = np.lib.stride_tricks.sliding_window_view(ids.astype(np.uint64), N_TOKENS)
    return np.asarray(windows @ powers, dtype=np.uint64)
