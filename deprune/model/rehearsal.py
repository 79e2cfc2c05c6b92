"""Which blocks of a model may be removed, tried once before anything is spent on it, and remembered.

The number that a search is given for a subset must be that of the model without these blocks. Blocks for which it
would not be, because others read more of them than a hidden state, stay in every subset. So do those that cannot be
taken out for good, where a score needs a model that is.
"""

from __future__ import annotations

import bisect
import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.files import write_atomically
from deprune.core.fingerprint import digest_of, file_name_of
from deprune.model.source import ModelConfig, ModelFacts

if TYPE_CHECKING:
    from deprune.model.load import LoadedModel

Reasons = dict[int, str]
"""Block -> why it must stay."""

VERSION = 1
"""Raised when something else is tried, so that an old result is not taken for a new one."""

FEW_TOKENS, MANY_TOKENS = 32, 128
"""Least length of what is tried, and the most at which all blocks are; beyond it one of each kind is [tokens]."""

BEYOND = 8
"""Number of tokens that follow the longest window."""

REACH = 2048
"""What scorers read at once [tokens]; windows that are longer than that and than calibration change nothing."""


@dataclass(frozen=True)
class Rehearsal:
    """What was found for a model as one dtype on one type of device.

    Attributes:
        n_tokens: Length of the calibration before which it was [tokens].
        dependent: Blocks that others need for more than their hidden state, or that do not run on text; with reasons.
        built_in: Blocks that cannot be taken out of the model; None where that was not tried.
    """

    n_tokens: int
    dependent: Reasons
    built_in: Reasons | None = None

    def fixed(self, physical: bool) -> Reasons:
        """Returns the blocks that stay in every subset, also where pruned models are built."""
        return ((self.built_in or {}) if physical else {}) | self.dependent


_KEPT = TypeAdapter(dict[str, Rehearsal])


def rehearse(loaded: LoadedModel, n_tokens: int, physical: bool, folder: Path) -> Reasons:
    """Tries the removal of each block of a model, unless a file in `folder` says what came of it before.

    Args:
        loaded: The model.
        n_tokens: Length of the calibration [tokens].
        physical: Whether pruned models are going to be built; then that is tried, too.
        folder: Where it is remembered.

    Returns:
        The blocks that must stay, with reasons.

    Raises:
        ConfigError: The model cannot read so many tokens.
        UnsupportedModelError: No block can be removed.
    """
    file, manner = _file(loaded.config, loaded.facts, folder), _manner(loaded)
    known = _read(file)
    found = known.get(manner)
    if found is None or found.n_tokens < n_tokens or (physical and found.built_in is None):
        found = _tried(loaded, n_tokens, physical)
        content = {manner: asdict(of) for manner, of in (known | {manner: found}).items()}
        write_atomically(file, json.dumps(content) + "\n")
    return found.fixed(physical)


def remembered(config: ModelConfig, facts: ModelFacts, physical: bool, folder: Path) -> Reasons:
    """Returns the blocks that must stay, as far as earlier rehearsals of a model left that in `folder`."""
    return {k: why for of in _read(_file(config, facts, folder)).values() for k, why in of.fixed(physical).items()}


def sentence(label: str, fixed: Reasons) -> str:
    """Returns which blocks must stay in a model, and why."""
    return f"These blocks of {label} stay in every subset: {_listed(fixed)}."


def _listed(fixed: Reasons) -> str:
    blocks: dict[str, list[str]] = {}
    for block, reason in sorted(fixed.items()):
        blocks.setdefault(reason, []).append(str(block))
    return "; ".join(f"{', '.join(of)} ({reason})" for reason, of in blocks.items())


def _tried(loaded: LoadedModel, n_tokens: int, physical: bool) -> Rehearsal:
    from deprune.model.trials import built_in, dependent, one_of_each_kind, sequences_of

    stack, length = loaded.stack, _length(loaded, n_tokens)
    _require_length(loaded, max(n_tokens, length))
    long = sequences_of(stack, length)
    fixed = {block: "not run on text" for block in range(stack.n_blocks) if block not in stack.runs}
    fixed |= dependent(stack, long if length <= MANY_TOKENS else sequences_of(stack, FEW_TOKENS), stack.runs)
    kinds = [block for block in one_of_each_kind(stack) if block not in fixed]
    if length > MANY_TOKENS:
        fixed |= dependent(stack, long, kinds)
    cannot = None
    if physical and (cannot := built_in(stack, long, kinds)):
        cannot = built_in(stack, long, [block for block in stack.runs if block not in fixed])
    found = Rehearsal(n_tokens, fixed, cannot)
    _require_free(loaded, found)
    return found


def _require_length(loaded: LoadedModel, n_tokens: int) -> None:
    """Raises a ConfigError where a model cannot read so many tokens at once, which its configuration may not say."""
    from deprune.model.trials import refusal, sequences_of

    def fault(n: int) -> str | None:
        return refusal(loaded.stack, sequences_of(loaded.stack, n)[0])

    if (reason := fault(n_tokens)) is not None:
        can = bisect.bisect_left(range(1, n_tokens), True, key=lambda n: fault(n) is not None)
        cannot = f"{loaded.config.label} cannot read {n_tokens} tokens at once ({reason})"
        raise ConfigError(f"{cannot}; give calib.seq_len={can} or less.")


def _require_free(loaded: LoadedModel, found: Rehearsal) -> None:
    label, n_blocks = loaded.config.label, loaded.stack.n_blocks
    if len(found.dependent) == n_blocks:
        raise UnsupportedModelError(f"No block of {label} can be removed: {_listed(found.dependent)}.")
    if len(fixed := found.fixed(physical=True)) == n_blocks:
        raise UnsupportedModelError(
            f"No block of {label} can be taken out for good, as tasks need it: {_listed(fixed)}; search without them, "
            "with eval.tasks=[]."
        )


def _length(loaded: LoadedModel, n_tokens: int) -> int:
    """Returns the length of what is tried: longer than every window that anything computed can fill."""
    reach = min(max(REACH, n_tokens), loaded.facts.context or REACH)
    settings = vars(loaded.stack.model.config.get_text_config(decoder=True)).items()
    windows = [n for name, value in settings if _is_window(name) for n in _numbers(value) if n < reach]
    return min(reach, max([FEW_TOKENS, *(n + BEYOND for n in windows)]))


def _is_window(name: str) -> bool:
    return any(part in name for part in ("window", "chunk", "block_size"))


def _numbers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, int):
            yield each


def _file(config: ModelConfig, facts: ModelFacts, folder: Path) -> Path:
    """Returns the file about one content, as one version of transformers reads it."""
    how = [VERSION, config.trust_remote_code, importlib.metadata.version("transformers")]
    return folder / f"{file_name_of(config.label)}-{digest_of([facts.revision, *how])}-blocks.json"


def _manner(loaded: LoadedModel) -> str:
    """Returns what else decides on the numbers: dtype, attention, type of device."""
    return digest_of([loaded.identity(), loaded.config.device_map, importlib.metadata.version("torch")])


def _read(file: Path) -> dict[str, Rehearsal]:
    """Returns what a file says; nothing where it is missing or damaged, since it can be tried again."""
    try:
        return _KEPT.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return {}
