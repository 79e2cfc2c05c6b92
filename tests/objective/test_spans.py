"""The logits that are in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import pytest

from deprune.model.load import LoadedModel
from deprune.objective.base import MAX_LOGITS, MAX_TOKENS, spans


@pytest.mark.parametrize("n_rows", [1, 3, 16, 5000])
def test_spans_cover_all_positions_and_hold_few_logits(n_rows: int, embedded: Callable[[str], LoadedModel]) -> None:
    stack = embedded("tiny_llama").stack
    vocabulary = stack.model.get_input_embeddings().num_embeddings
    found = list(spans(stack, n_rows, 2047))
    assert list(chain.from_iterable(range(s.start, s.stop) for s in found)) == list(range(2047))
    longest = max(s.stop - s.start for s in found)
    assert longest == 1 or longest * n_rows <= min(MAX_TOKENS, MAX_LOGITS // vocabulary)
