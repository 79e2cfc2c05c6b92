"""Seeded draws of calibration samples from a corpus.

A draw is an order of the corpus's documents. Of n and m samples drawn alike, the first n are the same.

Token windows: documents are taken in that order, each ended by the tokenizer's end token, until they fill a window;
a long document fills several. What is then left of the last document is dropped, so that a window starts with a
document, or goes on with one that filled the window before.

Items: the first of the order that are not longer than a window.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from deprune.core.errors import DataError
from deprune.core.fingerprint import digest_of, digest_of_bytes
from deprune.core.memory import Memory
from deprune.core.randomness import generator
from deprune.data.corpora import RandomTokens
from deprune.data.corpus import CalibConfig, Item, ItemTokens
from deprune.data.layout import lay_out, tokenize_item
from deprune.data.samples import CalibrationSet, SampleBatch

N_IDENTIFYING = 1024
"""Number of documents, first in the draw's order, that identify a draw and give its items their shape."""


def draw_windows(
    calib: CalibConfig,
    seq_len: int,
    tokenizer: PreTrainedTokenizerBase,
    model: str,
    memory: Memory | None = None,
    n_embeddings: int | None = None,
) -> CalibrationSet:
    """Draws a calibration set of windows of `seq_len` tokens; `memory` holds documents that were read before.

    Every model gets a draw of its own (its name enters the seed), so the draws of a sweep are independent replicates.
    Where its tokenizer starts texts with a token, so does each window. Random tokens are among the first
    `n_embeddings`, where that is given: a tokenizer may know more than the model.

    Raises:
        DataError: The corpus holds too few tokens, or cannot be had.
    """
    rng = generator(calib.seed, "calibration", calib.name, model)
    if isinstance(calib.corpus, RandomTokens):
        prefix, ordinary = start_tokens(tokenizer), _ordinary(tokenizer, n_embeddings)
        ids_RT = torch.from_numpy(rng.choice(ordinary, size=(calib.n_samples, seq_len)))
        ids_RT[:, : len(prefix)] = torch.tensor(prefix)
        sample_id = digest_of([calib.name, calib.seed, model])
    else:
        documents = (memory or Memory()).once(type(calib.corpus).documents, calib.corpus)
        order = rng.permutation(len(documents))
        windows = list(itertools.islice(windows_of(documents, order, tokenizer, seq_len), calib.n_samples))
        if len(windows) < calib.n_samples:
            raise DataError(
                f"{_too_few(calib, len(windows), f'windows of {seq_len}')} to at most {len(windows)}, shorten "
                "calib.seq_len, or take a larger corpus."
            )
        ids_RT = torch.tensor(windows)
        sample_id = digest_of_bytes(documents[int(i)].encode() for i in order[:N_IDENTIFYING])
    return CalibrationSet(ids_RT, sample_id, digest_of_bytes([ids_RT.numpy().tobytes()]))


@dataclass(frozen=True, eq=False)
class DrawnItems:
    """Items of a draw, before it is known which layout the model allows.

    Attributes:
        items: The items that are used.
        tokens: Their tokens.
        identifying: The tokens of the first items of the draw, however few are used.
        sample_id: Identity of the draw.
    """

    items: Sequence[Item]
    tokens: Sequence[ItemTokens]
    identifying: Sequence[ItemTokens]
    sample_id: str

    @property
    def largest(self) -> int:
        """The largest id among the tokens that may be used."""
        return max(max(itertools.chain(item.shared, *item.rests)) for item in self.identifying)

    def laid_out(self, shared: bool) -> CalibrationSet:
        """Returns the calibration set in one of the two layouts."""
        ids_RT, answers = lay_out(self.tokens, self.identifying, shared)
        tensors = SampleBatch(ids_RT, answers).tensors()
        return CalibrationSet(ids_RT, self.sample_id, digest_of_bytes(t.numpy().tobytes() for t in tensors), answers)


def draw_items(
    calib: CalibConfig, seq_len: int, tokenizer: PreTrainedTokenizerBase, model: str, memory: Memory | None = None
) -> DrawnItems:
    """Draws items that are short enough; arguments and errors are those of `draw_windows`."""
    items = (memory or Memory()).once(type(calib.corpus).items, calib.corpus)
    order = generator(calib.seed, "calibration", calib.name, model).permutation(len(items))
    sample_id = digest_of_bytes(items[int(i)].text.encode() for i in order[:N_IDENTIFYING])
    n = calib.n_samples
    pairs = ((items[int(i)], tokenize_item(items[int(i)], tokenizer)) for i in order)
    short = ((item, tokens) for item, tokens in pairs if tokens is not None and tokens.n_tokens <= seq_len)
    drawn = list(itertools.islice(short, max(N_IDENTIFYING, n)))
    if len(drawn) < n:
        raise DataError(f"{_too_few(calib, len(drawn), f'items of at most {seq_len}')} or raise calib.seq_len.")
    tokens = [tokens for _, tokens in drawn]
    return DrawnItems([item for item, _ in drawn[:n]], tokens[:n], tokens[:N_IDENTIFYING], sample_id)


def _too_few(calib: CalibConfig, n: int, what: str) -> str:
    asked = "were asked for; lower calib.n_samples"
    return f"The corpus {calib.name} holds {n} {what} tokens, but calib.n_samples={calib.n_samples} {asked}"


def _ordinary(tokenizer: PreTrainedTokenizerBase, n_embeddings: int | None) -> NDArray[np.int64]:
    n_tokens = len(tokenizer) if n_embeddings is None else min(len(tokenizer), n_embeddings)
    return np.setdiff1d(np.arange(n_tokens), tokenizer.all_special_ids)


def windows_of(
    documents: Sequence[str], order: Iterable[int], tokenizer: PreTrainedTokenizerBase, seq_len: int
) -> Iterator[list[int]]:
    """Yields token windows of documents taken in some order, cut as the head of this module says."""
    prefix = start_tokens(tokenizer)
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


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the token with which the tokenizer starts every text, in a list, or an empty list."""
    start = tokenizer.encode("a")[:1]
    return start if start == [tokenizer.bos_token_id] else []
