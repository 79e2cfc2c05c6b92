"""Which configuration has the blocks that are kept, each as it was?

Settings are rewritten by what they hold: counts, lists with one entry per block, dictionaries by block, lists of block
numbers, bounds, periods, and factors that depend on the depth. What a setting means is not taken from its name but
from its effect: a model of the rewritten configuration is built without weights, and each of its blocks must be what
the kept block in its place is in the dense model, in classes, shapes and plain attributes.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from inspect import isfunction
from itertools import chain, combinations, islice, product
from logging import CRITICAL
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.utils import logging

from deprune.core.errors import UnsupportedModelError, one_line
from deprune.core.subset import BlockSubset
from deprune.model.readings import is_of_depth, readings
from deprune.model.structure import find_blocks, without_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Fact = tuple[str, str]
"""A module's path below a block, and the name of an attribute, parameter or buffer."""

Facts = dict[Fact, Any]

Settings = dict[str, Any]
"""A configuration as its file holds it."""

MOST_TRIALS = 1000
"""Changes that are tried of one setting, and of two at once, such as a period and its offset."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what transformers says of configurations that are only tried off the screen."""
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def facts_of(module: nn.Module) -> Facts:
    """Returns the classes, shapes and plain attributes of a module and its parts."""
    facts: Facts = {}
    for path, part in module.named_modules():
        facts[path, "class"] = type(part)
        tensors = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        facts |= {(path, name): tuple(tensor.shape) for name, tensor in tensors}
        facts |= {(path, k): v for k, v in vars(part).items() if not k.startswith("_") and _is_plain(v)}
    return facts


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str | type) or isfunction(value)


INDEX = re.compile(r"((layer|block|decoder)_?)*(idx|id|index|number|num|no|nb)")
"""Names under which blocks know their index."""


def index_steps(blocks: Sequence[Facts], *, called: bool = True) -> dict[Fact, int]:
    """Returns what counts the blocks, and by how much it grows from one to the next.

    With `called`, only what is called an index; else all that grows evenly, as a factor may that a block computes with.
    """
    steps = {}
    for fact in set().union(*blocks):
        values = {i: facts[fact] for i, facts in enumerate(blocks) if fact in facts}
        if INDEX.fullmatch(fact[1]) or not called:
            steps[fact] = _step(fact[1], values)
    return {fact: step for fact, step in steps.items() if step > 0}


def _step(name: str, values: dict[int, Any]) -> int:
    """Returns the step of whole numbers that grow evenly; 0 where they do not."""
    if any(type(value) is not int for value in values.values()):
        return 0
    (first, start), (last, end) = min(values.items()), max(values.items())
    if first == last:  # a kind of which there is one block: only a name tells
        return int(start == first and INDEX.fullmatch(name) is not None)
    step = (end - start) // (last - first)
    return step if all(value == start + step * (i - first) for i, value in values.items()) else 0


@dataclass(frozen=True)
class Effect:
    """What a configuration gives, beside what is wanted.

    Attributes:
        wrong: The places of blocks that are not what the kept ones are.
        reason: How the first of them differs, or why there is no such model.
        facts: What differs in them, one fact of each.
        elsewhere: Whether a weight beside the blocks has another shape.
        blocks: What the blocks are; nothing where there is no such model.
    """

    wrong: tuple[int, ...]
    reason: str = ""
    blocks: tuple[Facts, ...] = ()
    facts: tuple[Fact, ...] = ()
    elsewhere: bool = False

    @property
    def cost(self) -> tuple[bool, int]:
        """What is made smaller: first the failures, then what is wrong."""
        return not self.blocks, len(self.wrong) + self.elsewhere

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong and not self.elsewhere


def pruned_settings(model: PreTrainedModel, subset: BlockSubset) -> Iterator[PretrainedConfig]:
    """Yields text configurations of a model without the removed blocks, the likeliest first; mostly there is one.

    Raises:
        UnsupportedModelError: None keeps every block what it is.
    """
    blocks = find_blocks(model)
    path = next(name for name, module in model.named_modules() if module is blocks)
    rewriting = Rewriting(model, model.config, path, subset)
    yield (text := rewriting.found())
    yield from rewriting.scaled(text)


@dataclass(frozen=True, eq=False)
class Rewriting:
    """The search for the configuration of a model without some blocks.

    Attributes:
        model: The dense model; only its class is used.
        config: Its whole configuration.
        path: Where its blocks are.
    """

    model: PreTrainedModel
    config: PretrainedConfig
    path: str
    subset: BlockSubset

    def found(self) -> PretrainedConfig:
        """Returns the text part of the configuration that keeps all blocks as they were.

        Raises:
            UnsupportedModelError: None was found.
        """
        settings = {name: options[0] for name, options in self._options.items()}
        effect = first = self.effect(settings)
        while not effect.is_right:
            better = self._better(settings, effect) or self._pair(settings, effect)
            if better is None:
                raise UnsupportedModelError(self._sentence(settings, first if effect.cost == first.cost else effect))
            settings, effect = better
        return self._text_of(settings)

    def scaled(self, text: PretrainedConfig) -> Iterator[PretrainedConfig]:
        """Yields what else is worth a try where blocks compute with their number: other factors."""
        counting = {fact for facts in self._dense[0] for fact, value in facts.items() if self._is_count(fact, value)}
        parts = {path for path, _ in counting}
        numbers = [
            v for facts in self._dense[0] for (path, _), v in facts.items() if path in parts and type(v) is float
        ]
        settings = text.to_dict()
        for name, value in settings.items():
            if value in numbers and not isinstance(value, bool):
                options = readings(name, float(value), self.subset)
                yield from (self._text_of(settings | {name: option}) for option in options if option != value)

    def effect(self, settings: Settings) -> Effect:
        """Builds the model of some settings and compares its blocks with those that are kept."""
        kept = self.subset.kept
        try:
            text = self._text_of(settings)
            if overruled := self._overruled(settings, text):
                return Effect(tuple(range(len(kept))), overruled)
            blocks, rest = self._built(text)
        except Exception as error:  # classes of models check what they are given in their own ways
            return Effect(tuple(range(len(kept))), one_line(error))
        if len(blocks) != len(kept):
            return Effect(tuple(range(abs(len(blocks) - len(kept)) + len(kept))), f"it has {len(blocks)} blocks")
        facts = {place: fact for place in range(len(kept)) if (fact := self._difference(place, blocks))}
        changed = [name for name in sorted({*rest, *self._dense[1]}) if rest.get(name) != self._dense[1].get(name)]
        reason = ""
        if changed:
            after, before = (shapes.get(changed[0], "absent") for shapes in (rest, self._dense[1]))
            reason = f"{changed[0]} would be {after}, not {before}"
        if facts:
            place, fact = next(iter(facts.items()))
            before, after = (of.get(fact, "absent") for of in (self._dense[0][kept[place]], blocks[place]))
            name = ".".join(filter(None, fact))
            reason = f"{name} of block {kept[place]} would be {_shown(after)}, not {_shown(before)}"
        return Effect(tuple(facts), reason, blocks, tuple(facts.values()), bool(changed))

    @property
    def _text(self) -> PretrainedConfig:
        return self.config.get_text_config(decoder=True)

    @cached_property
    def _options(self) -> dict[str, list[Any]]:
        """Every setting, and the values that it may have without the blocks, the likeliest first."""
        return {name: readings(name, value, self.subset) for name, value in self._text.to_dict().items()}

    @cached_property
    def _dense(self) -> tuple[tuple[Facts, ...], dict[str, tuple[int, ...]]]:
        return self._built(self._text)

    @cached_property
    def _steps(self) -> dict[Fact, int]:
        """What may differ because it counts; whether a block computes with it, the logits will tell."""
        return index_steps(self._dense[0], called=False)

    def _overruled(self, settings: Settings, text: PretrainedConfig) -> str:
        """Returns which entry of a list by block the class of the configuration replaced, if it did."""
        made = text.to_dict()
        for name, value in settings.items():
            if (
                isinstance(value, list)
                and len(value) == len(self.subset.kept)
                and len(made.get(name) or ()) == len(value)
            ):
                for block, wanted, got in zip(self.subset.kept, value, made[name], strict=True):
                    if wanted != got:
                        return f"{type(text).__name__} makes the {name} of block {block} {got}, not {wanted}"
        return ""

    def _text_of(self, settings: Settings) -> PretrainedConfig:
        text = type(self._text).from_dict(copy.deepcopy(settings))
        text._attn_implementation = self._text._attn_implementation
        return text

    def _built(self, text: PretrainedConfig) -> tuple[tuple[Facts, ...], dict[str, tuple[int, ...]]]:
        """Returns what the blocks of a model without weights are, and the shapes of all else."""
        config = text
        if self._text is not self.config:
            config = copy.copy(self.config)
            config.__dict__ |= {k: text for k, v in vars(config).items() if v is self._text}
        with torch.random.fork_rng(devices=[]), without_weights():
            model = type(self.model)(config)
        blocks: Any = model.get_submodule(self.path)
        rest = {k: tuple(v.shape) for k, v in model.named_parameters() if not k.startswith(f"{self.path}.")}
        return tuple(facts_of(block) for block in blocks), rest

    def _difference(self, place: int, built: Sequence[Facts]) -> Fact | None:
        """Returns the first fact by which a block that is built differs from the kept one in its place."""
        block = self.subset.kept[place]
        wanted, got = self._dense[0][block], built[place]
        for fact in sorted({*wanted, *got}, key=str):
            a, b = wanted.get(fact, "absent"), got.get(fact, "absent")
            step = self._steps.get(fact, 0)
            counts = step and a - step * block == b - step * place
            if not _same(a, b) and not counts and not self._is_of_all(fact, a, b):
                return fact
        return None

    def _is_of_all(self, fact: Fact, before: Any, after: Any) -> bool:
        """Whether a block's attribute says the same of all blocks: their number, or a list of them."""
        if isinstance(before, list | tuple) and len(before) == self.subset.n_blocks:
            return [*after] == [before[block] for block in self.subset.kept] if type(after) is type(before) else False
        return self._is_count(fact, before) and after == len(self.subset.kept)

    def _is_count(self, fact: Fact, value: Any) -> bool:
        """Whether a block's attribute is the number of all blocks."""
        return type(value) is int and is_of_depth(fact[1]) and value == self.subset.n_blocks

    def _better(self, settings: Settings, effect: Effect) -> tuple[Settings, Effect] | None:
        """Returns the change of one setting that leaves the least wrong, if it is less than before."""
        best: tuple[Settings, Effect] | None = None
        for move in islice(self._moves(settings, effect), MOST_TRIALS):
            if move[1].cost < (best[1] if best else effect).cost:
                best = move
            if move[1].is_right:
                break
        return best

    def _moves(self, settings: Settings, effect: Effect) -> Iterator[tuple[Settings, Effect]]:
        """Yields every change of one setting with what it gives."""
        for name in settings:
            values = [*self._values(name, settings, effect)]
            for number, value in enumerate(values):
                changed = settings | {name: value}
                yield changed, (other := self.effect(changed))
                if number == len(values[:2]) - 1 and other.blocks == effect.blocks:
                    break  # it has no effect on the blocks

    def _values(self, name: str, settings: Settings, effect: Effect) -> Iterator[Any]:
        """Yields the other values of a setting; of a list of block numbers also that with the wrong blocks turned."""
        yield from (value for value in self._options[name] if value != settings[name])
        value = settings[name]
        if _are_block_numbers(name, value):
            yield sorted({*value} ^ {*effect.wrong})

    def _deciding(self, settings: Settings, effect: Effect) -> list[str]:
        """Returns the settings that decide where the kinds of blocks are that differ from the wanted ones."""
        names: dict[str, None] = {}
        for changed, other in islice(self._moves(settings, effect), MOST_TRIALS):
            if any(self._is_elsewhere(fact, effect, other) for fact in effect.facts):
                names |= {name: None for name in settings if settings[name] != changed[name]}
        return [*names]

    def _is_elsewhere(self, fact: Fact, effect: Effect, other: Effect) -> bool:
        """Whether two configurations have the wanted kinds of blocks in other places, as far as one fact tells."""
        before, after = ([facts.get(fact) for facts in of.blocks] for of in (effect, other))
        wanted = [facts.get(fact) for facts in self._dense[0]]
        is_mixed = any(value != after[0] for value in after)
        return is_mixed and before != after and len(before) == len(after) and all(value in wanted for value in after)

    def _pair(self, settings: Settings, effect: Effect) -> tuple[Settings, Effect] | None:
        """Returns a change of two settings, such as a period and its offset, that leaves nothing wrong."""
        deciding = self._deciding(settings, effect)
        pairs = (
            settings | dict(zip(pair, values, strict=True))
            for pair in combinations(deciding, 2)
            for values in product(*(self._options[name] for name in pair))
        )
        changes = islice(chain(self._turned(settings, deciding), pairs), MOST_TRIALS)
        tried = ((changed, self.effect(changed)) for changed in changes)
        return next((trial for trial in tried if trial[1].is_right), None)

    def _turned(self, settings: Settings, names: Sequence[str]) -> Iterator[Settings]:
        """Yields changes of one setting after which a list of block numbers names what is still wrong."""
        for name in names:
            for value in self._options[name]:
                changed = settings | {name: value}
                wrong = {*self.effect(changed).wrong}
                lists = {k: v for k, v in settings.items() if _are_block_numbers(k, v)}
                yield from (changed | {k: sorted({*v} ^ wrong)} for k, v in lists.items())

    def _sentence(self, settings: Settings, effect: Effect) -> str:
        blocks = ", ".join(map(str, self.subset.removed))
        blocks = f"block {blocks}" if len(self.subset.removed) == 1 else f"blocks {blocks}"
        without = f"{type(self.model).__name__} cannot be written without {blocks}: {effect.reason.rstrip('.')}"
        if not effect.blocks:
            return f"{without}."
        if not effect.facts:
            return f"{without}; it holds a part for every block, which cannot be cut."
        deciding = " and ".join(self._deciding(settings, effect))
        if deciding:
            return f"{without}; {deciding} decide that by position, and no values were found that keep every block."
        return f"{without}; its class decides that by position, and no setting does."


def _are_block_numbers(name: str, value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int for v in value) and not name.endswith("token_id")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)
