"""Leaving blocks out in three ways that must agree, each tried on a few tokens.

In the stack, as the evaluator does it: after other subsets, on the same inputs. In the model's own forward pass, where
blocks become identities: transformers alone, which is right. And by taking blocks out of the model for good.

Shapes: T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deprune.core.errors import UnsupportedModelError, reason_of
from deprune.core.subset import BlockSubset
from deprune.model.blocks import BlockInputs, BlockStack
from deprune.model.prune import blocks_removed
from deprune.model.rehearsal import Reasons
from deprune.model.rounding import LEAST_UNITS, tolerance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Outcome = Tensor | str
"""A hidden state `(1, T, D)`, or why there is none."""


class _LeftError(Exception):
    """Ends a forward pass with the hidden state that left a block."""


def dependent(stack: BlockStack, sequences: Sequence[Tensor], blocks: Iterable[int]) -> Reasons:
    """Returns those of some blocks without which the stack does not give what the model gives.

    Raises:
        UnsupportedModelError: It does not with all blocks either, or not without several of those that may go.
    """
    name, dense = type(stack.model).__name__, BlockSubset(stack.n_blocks)
    singles = [dense.remove(block) for block in blocks]
    found = _differences(stack, sequences, [dense, *singles])
    if dense in found:
        raise UnsupportedModelError(f"{name} is another model when its blocks are run one by one{found[dense]}.")
    free = [subset.removed[0] for subset in singles if subset not in found]
    several = BlockSubset(stack.n_blocks, tuple(free[: len(free) // 2]))
    for difference in _differences(stack, sequences, [several]).values():
        without = f"{name} without its blocks {', '.join(map(str, several.removed))}"
        raise UnsupportedModelError(f"{without} is another model when the others are run one by one{difference}.")
    return {subset.removed[0]: f"needed by others{difference}" for subset, difference in found.items()}


def built_in(stack: BlockStack, sequences: Sequence[Tensor], blocks: Iterable[int]) -> Reasons:
    """Returns those of some blocks that cannot be taken out of the model, which then would be another one."""
    reasons = {}
    for subset in (BlockSubset(stack.n_blocks, (block,)) for block in blocks):
        for ids_1T in sequences:
            outcomes = [_result(state, stack, ids_1T, subset) for state in (_plain_state, _cut_state)]
            if (difference := _difference(stack, ids_1T, subset, *outcomes)) is not None:
                reasons[subset.removed[0]] = f"cannot be taken out{difference}"
    return reasons


def refusal(stack: BlockStack, ids_1T: Tensor) -> str | None:
    """Returns why a model cannot read a sequence; None where it can."""
    found = _result(_plain_state, stack, ids_1T, BlockSubset(stack.n_blocks))
    return found if isinstance(found, str) else None


def sequences_of(stack: BlockStack, n_tokens: int) -> list[Tensor]:
    """Returns two sequences of random tokens, `(1, T)` each."""
    ids_2T = torch.randint(stack.n_embeddings, (2, n_tokens), generator=torch.Generator().manual_seed(0))
    return [*ids_2T.to(stack.model.device)[:, None]]


def one_of_each_kind(stack: BlockStack) -> list[int]:
    """Returns the first block that runs, the last, and the first of each kind: of parts, shapes, settings per block."""
    settings = vars(stack.model.config.get_text_config(decoder=True)).values()
    per_block = [of for of in settings if isinstance(of, list | tuple) and len(of) == stack.n_blocks]
    kinds: dict[str, int] = {}
    for index in stack.runs:
        shapes = [(name, tuple(p.shape)) for name, p in stack.blocks[index].named_parameters()]
        kinds.setdefault(repr((type(stack.blocks[index]), shapes, [of[index] for of in per_block])), index)
    return sorted({stack.runs[0], stack.runs[-1], *kinds.values()})


def _differences(
    stack: BlockStack, sequences: Sequence[Tensor], subsets: Sequence[BlockSubset]
) -> dict[BlockSubset, str]:
    """Returns the subsets without which stack and model differ on a sequence, with what went wrong."""
    # Subset by subset here and sequence by sequence there: what a block keeps from the pass before is of another text.
    expected = [[_result(_plain_state, stack, ids_1T, subset) for ids_1T in sequences] for subset in subsets]
    found = [_stack_states(stack, ids_1T, subsets) for ids_1T in sequences]
    differences = {}
    for subset, *outcomes in zip(subsets, expected, zip(*found, strict=True), strict=True):
        for ids_1T, *pair in zip(sequences, *outcomes, strict=True):
            if (difference := _difference(stack, ids_1T, subset, *pair)) is not None:
                differences[subset] = difference
    return differences


def _difference(stack: BlockStack, ids_1T: Tensor, subset: BlockSubset, expected: Any, found: Any) -> str | None:
    """Returns what went wrong, after a colon; nothing where only numbers differ, and None where they do not."""
    for outcome in (expected, found):
        if isinstance(outcome, str):
            return f": {outcome}"
    if _is_close(expected, found, LEAST_UNITS * torch.finfo(expected.dtype).eps * float(expected.abs().max())):
        return None
    expected, found = stack.logits(expected), stack.logits(found)
    rounding = _result(tolerance, stack, ids_1T, subset, expected)
    return None if isinstance(rounding, float) and _is_close(expected, found, rounding) else ""


def _is_close(expected: Tensor, found: Tensor, most: float) -> bool:
    is_close = ((found - expected).abs() <= most) | (found == expected) | (found.isnan() & expected.isnan())
    return bool(is_close.all())


def _result(run: Callable[..., Any], *args: Any) -> Any:
    """Returns what a function gives, or what went wrong; but that memory is short says nothing of a block."""
    try:
        with torch.inference_mode():
            return run(*args)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # whatever the code of a model raises
        return reason_of(error)


def _stack_states(stack: BlockStack, ids_1T: Tensor, subsets: Sequence[BlockSubset]) -> Sequence[Outcome]:
    """Returns what leaves the last block without each subset, as the evaluator does: depth first."""
    outcome = _result(_dense_states, stack, ids_1T)
    if isinstance(outcome, str):
        return [outcome] * len(subsets)
    inputs, states = outcome

    def n_shared(subset: BlockSubset) -> int:
        return min(subset.removed, default=stack.n_blocks)

    def without(subset: BlockSubset) -> Tensor:
        hidden_1TD: Tensor = states[n_shared(subset)]
        for block in subset.kept[n_shared(subset) :]:
            hidden_1TD = stack.run_block(block, hidden_1TD, inputs)
        return hidden_1TD

    found = {subset: _result(without, subset) for subset in sorted(subsets, key=n_shared, reverse=True)}
    return [found[subset] for subset in subsets]


def _dense_states(stack: BlockStack, ids_1T: Tensor) -> tuple[BlockInputs, list[Tensor]]:
    inputs = stack.embed(ids_1T)
    states = [inputs.hidden_BTD]
    for block in range(stack.n_blocks):
        states.append(stack.run_block(block, states[-1], inputs))
    return inputs, states


def _plain_state(stack: BlockStack, ids_1T: Tensor, subset: BlockSubset) -> Tensor:
    with ExitStack() as undo:
        for index in subset.removed:
            undo.enter_context(_as_identity(stack, index))
        return _state_after(stack.blocks[stack.runs[-1]], stack.model, ids_1T)


def _cut_state(stack: BlockStack, ids_1T: Tensor, subset: BlockSubset) -> Tensor:
    last = [index for index in stack.runs if index in subset.kept][-1]
    with blocks_removed(stack.model, subset) as model:
        return _state_after(stack.blocks[last], model, ids_1T)


def _state_after(block: nn.Module, model: PreTrainedModel, ids_1T: Tensor) -> Tensor:
    """Returns the hidden state that leaves a block in the model's own forward pass, which ends there."""

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        raise _LeftError(output[0] if isinstance(output, tuple | list) else output)

    hook = block.register_forward_hook(leave)
    try:
        model(ids_1T, use_cache=False)
    except _LeftError as left:
        state: Tensor = left.args[0]
        return state
    finally:
        hook.remove()
    raise UnsupportedModelError(f"{type(model).__name__} does not run its last block")


@contextmanager
def _as_identity(stack: BlockStack, index: int) -> Iterator[None]:
    attributes = stack.blocks[index].__dict__
    own = attributes.get("forward")  # of accelerate, where the model is spread over devices

    def forward(*args: Any, **kwargs: Any) -> Any:
        return stack.as_output(index, args[0] if args else kwargs[stack.hidden_names[index]])

    attributes["forward"] = forward
    try:
        yield
    finally:
        del attributes["forward"]
        if own is not None:
            attributes["forward"] = own
