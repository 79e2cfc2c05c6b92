"""What a setting of a configuration may become when blocks go, by what it holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import Any

from deprune.core.subset import BlockSubset

COUNT = re.compile(r"(num|n)_((hidden|decoder|transformer)_)?(layers?|blocks)|decoder_layers")
"""The usual names of the number of blocks."""


def is_of_depth(name: str) -> bool:
    """Whether a name speaks of blocks."""
    return any(word in name.lower() for word in ("layer", "block", "depth", "idx", "indices", "indexes"))


def readings(name: str, value: Any, subset: BlockSubset) -> list[Any]:
    """Returns the values that a setting may have without the removed blocks, each once, the likeliest first."""
    if (
        value is None
        or isinstance(value, bool)
        or name.endswith(("token_id", "token_ids", "2label", "label2id", "_dtype"))
    ):
        return [value]
    kinds: dict[type, Callable[[str, Any, BlockSubset], Iterator[Any]]] = {
        int: _of_number, float: _of_number, str: _of_text, list: _of_list, dict: _of_dictionary
    }  # fmt: skip
    read = kinds.get(type(value))
    found = [value] if read is None else [*read(name, value, subset)]
    return [option for i, option in enumerate(found) if option not in found[:i]]


def _of_number(name: str, value: float, subset: BlockSubset) -> Iterator[Any]:
    """Yields a count, a bound, a period or an offset, or a factor that depends on the depth."""
    n_blocks, kept = subset.n_blocks, subset.kept
    counts = isinstance(value, int) and is_of_depth(name) and value > 0 and value % n_blocks == 0
    if counts and COUNT.fullmatch(name):
        yield value * len(kept) // n_blocks
    yield value
    if counts:
        yield value * len(kept) // n_blocks
    if isinstance(value, int) and 0 <= value <= n_blocks:
        yield sum(block < value for block in kept)  # of the first blocks, or the first that is another
        yield sum(block <= value for block in kept) - 1  # the last of them
        yield from range(len(kept) + 2)
    if isinstance(value, float) or is_of_depth(name) or "scale" in name:
        ratio = len(kept) / n_blocks
        yield from (value * factor for factor in (sqrt(ratio), ratio, sqrt(1 / ratio), 1 / ratio))


def _of_text(name: str, value: str, subset: BlockSubset) -> Iterator[Any]:
    """Yields a pattern with one letter per block."""
    if not (is_of_depth(name) or "pattern" in name):
        yield value
    if len(value) == subset.n_blocks:
        yield "".join(value[block] for block in subset.kept)
    yield value


def _of_list(name: str, value: list[Any], subset: BlockSubset) -> Iterator[Any]:
    """Yields entries per block, runs of them, block numbers, or a pattern that repeats."""
    n_blocks, kept = subset.n_blocks, subset.kept
    if len(runs := _unrolled(value)) == n_blocks:
        yield [[_at(runs, kept), 1]]
    if len(value) == n_blocks:
        yield _at(value, kept)
    if not is_of_depth(name):
        yield value
    if all(type(entry) is int for entry in value):
        yield from (_renumbered(value, start, subset) for start in (0, 1) if _are_numbers(value, start, n_blocks))
    yield value
    if value and len(value) < n_blocks:
        yield [value[block % len(value)] for block in kept]
    if len(value) > n_blocks:
        yield [*_at(value, kept), *value[n_blocks:]]


def _of_dictionary(name: str, value: dict[Any, Any], subset: BlockSubset) -> Iterator[Any]:
    """Yields entries by block, or a part of the configuration."""
    if value and all(str(key).isdigit() and int(key) < subset.n_blocks for key in value):
        places = {block: place for place, block in enumerate(subset.kept)}
        yield {type(key)(places[int(key)]): of for key, of in value.items() if int(key) in places}
    yield value
    for key, part in value.items():
        yield from ({**value, key: option} for option in readings(str(key), part, subset) if option != part)


def _at(values: Sequence[Any], kept: Sequence[int]) -> list[Any]:
    return [values[block] for block in kept]


def _unrolled(value: list[Any]) -> list[Any]:
    """Returns the entries of a list of runs, each of a pattern and how often it comes; none of another list."""
    try:
        return [kind for kinds, repeats in value for kind in list(kinds) * repeats]
    except (TypeError, ValueError):
        return []


def _are_numbers(value: list[int], start: int, n_blocks: int) -> bool:
    """Whether these can be numbers of blocks, from the end too where they count from 0."""
    lowest = -n_blocks if start == 0 else start
    return len({*value}) == len(value) and all(lowest <= number < n_blocks + start for number in value)


def _renumbered(value: list[int], start: int, subset: BlockSubset) -> list[int]:
    places = {block: place for place, block in enumerate(subset.kept)}
    blocks = [(number - start) % subset.n_blocks for number in value]
    return [places[block] + start for block in blocks if block in places]
