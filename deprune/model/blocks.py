"""Any decoder-only model as embedding, blocks, and head, run one block at a time.

Nothing here knows a model by name. The model's own `forward` makes the keyword arguments of every block and computes
everything before and after them; for that its blocks are replaced for a moment by functions that record what they are
given, or return a given hidden state.

Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from deprune.core.errors import UnsupportedModelError, reason_of
from deprune.core.subset import BlockSubset
from deprune.model.rounding import tolerance
from deprune.model.structure import find_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The positional arguments of a block after the hidden state, and the keyword ones."""


class _StopForwardError(Exception):
    """Ends a forward pass once the last block's arguments are known."""


@dataclass(frozen=True)
class BlockInputs:
    """What enters the blocks for one batch of token ids.

    Attributes:
        hidden_BTD: The output of the embedding.
        calls: What each block that runs is given beside the hidden state.
    """

    hidden_BTD: Tensor
    calls: Mapping[int, Call]


class Stack(Protocol):
    """What evaluator and objectives ask of a model: a `BlockStack`, or one that counts in place of computing."""

    model: Any

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the dense model."""

    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns what enters the blocks for these token ids."""

    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the hidden state after block `index`."""

    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the logits `(B, T, V)` for the hidden state after the last block."""


class BlockStack:
    """The blocks of one model, ready to be run in any combination.

    Attributes:
        runs: The blocks that the model runs on text, in order; all but those for images or sounds.
        hidden_names: What each block calls its hidden state, the first of its arguments.
        n_embeddings: Number of tokens that have a row in the embedding.

    Raises:
        UnsupportedModelError: On construction, if the blocks cannot be found, or if running them one by one does not
            give the model's own logits, or if a token can see later ones.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()
        self.blocks = list(find_blocks(model))
        self.n_blocks = len(self.blocks)
        embedding: Any = model.get_input_embeddings()
        self.n_embeddings: int = len(embedding.weight)
        self.runs: tuple[int, ...] = ()
        self._rest: list[Sequence[Any] | None] = [None] * len(self.blocks)
        self.hidden_names = [_first_argument(block) for block in self.blocks]
        try:
            self._probe()
        except UnsupportedModelError:
            raise
        except Exception as error:  # whatever the code of a model raises
            cannot = f"{type(model).__name__} cannot be run block by block on a short text"
            raise UnsupportedModelError(f"{cannot} ({reason_of(error)}).") from error

    @torch.inference_mode()
    def embed(self, ids_BT: Tensor, **inputs: Tensor) -> BlockInputs:
        """Returns what enters the blocks for these token ids; the model's `forward` is given the other inputs too."""
        hidden: list[Tensor] = []
        calls: dict[int, Call] = {}

        def record(index: int, state: Tensor, call: Call) -> Tensor:
            hidden.append(state)
            calls[index] = call
            if index == self.runs[-1]:
                raise _StopForwardError
            return state

        with self._replaced(record):
            try:
                self.model(ids_BT, use_cache=False, **inputs)
            except _StopForwardError:
                return BlockInputs(hidden[0], calls)
        ran = f"{type(self.model).__name__} ran without calling its last block"
        raise UnsupportedModelError(f"{ran}, so its blocks cannot be run one by one.")

    @torch.inference_mode()
    def run_block(self, index: int, hidden_BTD: Tensor, inputs: BlockInputs) -> Tensor:
        """Returns the hidden state after block `index`, which one that the model does not run leaves as it is."""
        if index not in inputs.calls:
            return hidden_BTD
        args, kwargs = inputs.calls[index]
        output = self.blocks[index](hidden_BTD, *args, **kwargs)
        state: Tensor = output[0] if isinstance(output, tuple | list) else output
        return state

    @torch.inference_mode()
    def logits(self, hidden_BTD: Tensor) -> Tensor:
        """Returns the logits `(B, T, V)` for the hidden state after the last block.

        The head works on each position alone, so any slice of positions may be given.
        """
        dummy_BT = torch.zeros(hidden_BTD.shape[:2], dtype=torch.long, device=self.model.device)
        with self._replaced(lambda index, state, _: hidden_BTD if index == self.runs[0] else state):
            logits: Tensor = self.model(dummy_BT, use_cache=False).logits
        return logits

    def run(self, ids_BT: Tensor, subset: BlockSubset) -> Tensor:
        """Returns the logits `(B, T, V)` of the model without the removed blocks."""
        inputs = self.embed(ids_BT)
        hidden_BTD = inputs.hidden_BTD
        for block in subset.kept:
            hidden_BTD = self.run_block(block, hidden_BTD, inputs)
        return self.logits(hidden_BTD)

    def as_output(self, index: int, hidden_BTD: Tensor) -> Any:
        """Returns a hidden state as block `index` returns its own."""
        rest = self._rest[index]
        return hidden_BTD if rest is None else (hidden_BTD, *rest)

    @contextmanager
    def _replaced(self, state_after: Callable[[int, Tensor, Call], Tensor]) -> Iterator[None]:
        """Replaces the `forward` of every block, keeping the attributes that models read."""

        def forward(index: int, /, *args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs.pop(self.hidden_names[index])
            return self.as_output(index, state_after(index, hidden, (args[1:], kwargs)))

        before = [(block.__dict__, block.__dict__.get("forward")) for block in self.blocks]
        try:
            for index, (attributes, _) in enumerate(before):
                attributes["forward"] = partial(forward, index)
            yield
        finally:
            for attributes, own in before:
                del attributes["forward"]
                if own is not None:
                    attributes["forward"] = own

    @torch.inference_mode()
    def _probe(self) -> None:
        """Learns how each block returns its hidden state and tries the stack on one sequence."""
        name = type(self.model).__name__
        ids_BT = torch.arange(1, 9, device=self.model.device)[None] % self.n_embeddings
        called: list[int] = []

        def keep_rest(index: int, module: Any, args: Any, output: Any) -> None:
            called.append(index)
            self._rest[index] = output[1:] if isinstance(output, tuple | list) else None

        with ExitStack() as hooks:
            for index, block in enumerate(self.blocks):
                hooks.callback(block.register_forward_hook(partial(keep_rest, index)).remove)
            expected = self.model(ids_BT, use_cache=False).logits
        if not called or called != sorted({*called}):
            raise UnsupportedModelError(f"{name} does not run each of its blocks once and in order, so none can go.")
        self.runs = tuple(called)
        shape = tuple(self.embed(ids_BT).hidden_BTD.shape)
        if len(shape) < 3 or shape[:2] != ids_BT.shape:
            given = f"{name} gives its blocks states of shape {shape} for a text of {ids_BT.shape[1]} tokens"
            raise UnsupportedModelError(f"{given}; only (texts, tokens, width) can be run block by block.")
        rounding = tolerance(self, ids_BT, BlockSubset(self.n_blocks), expected)
        if (self.run(ids_BT, BlockSubset(self.n_blocks)) - expected).abs().max() > rounding:
            between = "so it does something between them that deprune cannot reproduce"
            raise UnsupportedModelError(f"{name} gives other logits when its blocks are run one by one, {between}.")
        ids_BT[:, -1] = 0
        changed = self.model(ids_BT, use_cache=False).logits
        if (changed - expected)[:, :-1].abs().max() > rounding:
            raise UnsupportedModelError(f"{name} is not a decoder: its tokens see later tokens.")


def _first_argument(block: nn.Module) -> str:
    return list(inspect.signature(type(block).forward).parameters)[1]
