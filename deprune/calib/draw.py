"""Seeded draws of token windows from a corpus.

A draw is an order of the corpus's documents. They are taken in that order, each ended by the
tokenizer's end token, until they fill a window; a long document fills several. What is then
left of the last document is dropped, so that a window starts with a document, or goes on with one
that filled the window before. The first n of m windows are the n windows of the same draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from deprune.calib.base import CalibConfig, CalibrationSet
from deprune.errors import DataError
from deprune.fingerprint import digest_of_bytes
from deprune.randomness import generator

N_IDENTIFYING = 1024
"""Number of raw documents, first in the draw's order, that identify a draw."""


def draw_windows(calib: CalibConfig, seq_len: int, tokenizer: PreTrainedTokenizerBase, model: str) -> CalibrationSet:
    """Draws the calibration set of a configuration.

    Every model gets a draw of its own (its name enters the seed), which makes the draws of a
    sweep independent replicates across models as well.

    Args:
        calib: The configuration.
        seq_len: Length of a window [tokens].
        tokenizer: Tokenizer of the model; where it starts texts with a token, so does each window.
        model: The model's name in records.

    Raises:
        DataError: The corpus holds too few tokens, or cannot be had.
    """
    documents = calib.corpus.documents()
    rng = generator(calib.seed, "calibration", calib.name, model)
    order = rng.permutation(len(documents))
    windows: list[list[int]] = []
    for window in _windows(documents, order, tokenizer, seq_len):
        windows.append(window)
        if len(windows) == calib.n_samples:
            break
    else:
        raise DataError(
            f"The corpus {calib.name} holds {len(windows)} windows of {seq_len} tokens, but "
            f"calib.n_samples={calib.n_samples} were asked for; lower calib.n_samples to at most "
            f"{len(windows)}, shorten calib.seq_len, or take a larger corpus."
        )
    ids_BT = torch.tensor(windows)
    raw = (documents[int(i)].encode() for i in order[:N_IDENTIFYING])
    return CalibrationSet(ids_BT, digest_of_bytes(raw), digest_of_bytes([ids_BT.numpy().tobytes()]))


def _windows(
    documents: Sequence[str], order: np.ndarray, tokenizer: PreTrainedTokenizerBase, seq_len: int
) -> Iterator[list[int]]:
    prefix = _start_tokens(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    fresh = seq_len - len(prefix)
    pending: list[int] = []
    for index in order:
        # Long documents are meant to exceed the context here; they are cut below.
        pending += tokenizer.encode(documents[int(index)], add_special_tokens=False, verbose=False) + end
        if len(pending) >= fresh:
            for start in range(0, len(pending) - fresh + 1, fresh):
                yield prefix + pending[start : start + fresh]
            pending = []


def _start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    start = tokenizer.encode("a")[:1]
    return start if start == [tokenizer.bos_token_id] else []
