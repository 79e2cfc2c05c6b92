"""Any decoder-only model as embedding, blocks, and head, run one block at a time.

Nothing here knows a model by name. The model's own `forward` makes the keyword arguments of
every block and computes everything before and after them; for that its blocks are replaced
for a moment by functions that record what they are given, or return a given hidden state.

Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from deprune.core.errors import UnsupportedModelError
from deprune.core.subset import BlockSubset
from deprune.model.prune import find_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Forward = Callable[..., Any]

PROBE_TOKENS = 8
"""Length of the sequence on which a model is tried before it is accepted."""


class _StopForwardError(Exception):
    """Ends a forward pass once the last block's arguments are known."""


@dataclass(frozen=True)
class BlockInputs:
    """What enters the blocks for one batch of token ids.

    Attributes:
        hidden_BTD: The output of the embedding.
        calls: Per block, the positional arguments after the hidden state and the keyword ones.
    """

    hidden_BTD: Tensor
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]


class Stack(Protocol):
    """What evaluator and objectives ask of a model: a `BlockStack`, or one that counts in place of computing."""

    model: Any

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the dense model."""

    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns what enters the blocks for these token ids."""
        ...

    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the hidden state after block `index`."""
        ...

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the logits `(B, T, V)` for the hidden state after the last block."""
        ...


class BlockStack:
    """The blocks of one model, ready to be run in any combination.

    Raises:
        UnsupportedModelError: On construction, if the blocks cannot be found, or if running them one by one does not
            give the model's own logits, or if a token can see later ones.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()
        self.blocks = list(find_blocks(model))
        self._rest: list[tuple[Any, ...] | None] = [None] * len(self.blocks)
        self._probe()

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the dense model."""
        return len(self.blocks)

    @torch.inference_mode()
    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns what enters the blocks for these token ids.

        Args:
            ids_BT: Token ids, all of them seen, unless the model's other inputs say otherwise.
            inputs: What else the model's `forward` is given, such as a mask and positions.
        """
        hidden: list[Tensor] = []
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(index: int) -> Forward:
            def forward(*args: Any, **kwargs: Any) -> Any:
                state, args, kwargs = _split_call(args, kwargs)
                hidden.append(state)
                calls.append((args, kwargs))
                if index == self.n_blocks - 1:
                    raise _StopForwardError
                return self._output(index, state)

            return forward

        with self._replaced(record):
            try:
                self.model(ids_BT, use_cache=False, **inputs)
            except _StopForwardError:
                return BlockInputs(hidden[0], calls)
        raise UnsupportedModelError(
            f"{type(self.model).__name__} ran without calling its last block, so its blocks cannot be run one by one."
        )

    @torch.inference_mode()
    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the hidden state after block `index`."""
        args, kwargs = inputs.calls[index]
        output = self.blocks[index](hidden_BTD, *args, **kwargs)
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        return hidden

    @torch.inference_mode()
    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the logits `(B, T, V)` for the hidden state after the last block.

        The head works on each position alone, so any slice of positions may be given.
        """

        def inject(index: int) -> Forward:
            def forward(*args: Any, **kwargs: Any) -> Any:
                state = hidden_BTD if index == 0 else _split_call(args, kwargs)[0]
                return self._output(index, state)

            return forward

        dummy_BT = torch.zeros(hidden_BTD.shape[:2], dtype=torch.long, device=self.model.device)
        with self._replaced(inject):
            logits: Tensor = self.model(dummy_BT, use_cache=False).logits
        return logits

    def run(self, ids_BT: Tensor, subset: BlockSubset) -> Tensor:
        """Returns the logits `(B, T, V)` of the model without the removed blocks."""
        inputs = self.embed(ids_BT)
        hidden_BTD = inputs.hidden_BTD
        for block in subset.kept:
            hidden_BTD = self.run_block(block, hidden_BTD, inputs)
        return self.logits(hidden_BTD)

    def _output(self, index: int, hidden: Tensor) -> Any:
        rest = self._rest[index]
        return hidden if rest is None else (hidden, *rest)

    @contextmanager
    def _replaced(self, forward_of: Callable[[int], Forward]) -> Iterator[None]:
        """Replaces the `forward` of every block, keeping the attributes that models read."""
        before = [block.__dict__.get("forward") for block in self.blocks]
        try:
            for index, block in enumerate(self.blocks):
                block.__dict__["forward"] = forward_of(index)
            yield
        finally:
            for block, forward in zip(self.blocks, before, strict=True):
                del block.__dict__["forward"]
                if forward is not None:
                    block.__dict__["forward"] = forward

    @torch.inference_mode()
    def _probe(self) -> None:
        """Learns how each block returns its hidden state and tries the stack on one sequence."""
        vocabulary = self.model.get_input_embeddings().num_embeddings
        ids_BT = torch.arange(1, PROBE_TOKENS + 1, device=self.model.device)[None] % vocabulary

        def keep_rest(index: int) -> Forward:
            def hook(module: Any, args: Any, output: Any) -> None:
                self._rest[index] = output[1:] if isinstance(output, tuple) else None

            return hook

        hooks = [b.register_forward_hook(keep_rest(i)) for i, b in enumerate(self.blocks)]
        try:
            expected = self.model(ids_BT, use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        # Sixteen units in the last place of the largest logit: rounding, but nothing else.
        tolerance = 16 * torch.finfo(expected.dtype).eps * expected.abs().max()
        if (self.run(ids_BT, BlockSubset(self.n_blocks)) - expected).abs().max() > tolerance:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} gives other logits when its blocks are run one by "
                "one, so it does something between them that deprune cannot reproduce."
            )
        changed_BT = ids_BT.clone()
        changed_BT[:, -1] = 0
        changed = self.model(changed_BT, use_cache=False).logits
        if (changed - expected)[:, :-1].abs().max() > tolerance:
            raise UnsupportedModelError(f"{type(self.model).__name__} is not a decoder: its tokens see later tokens.")


def _split_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    """Returns the hidden state of a block's call and the rest of its arguments."""
    if args:
        return args[0], args[1:], kwargs
    rest = dict(kwargs)
    return rest.pop("hidden_states"), (), rest
