"""Does a checkpoint compute what its model does: in one pass, step by step with a cache, and generating?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deprune.core.subset import BlockSubset
from deprune.model.rounding import LEAST_UNITS, tolerance

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from deprune.model.blocks import BlockStack

FEWEST_TOKENS = 64
MOST_TOKENS = 8192
"""Windows that are longer than this are compared by what the blocks say of themselves alone."""

DIFFER = "they differ"
"""How the sentence begins that says so of logits."""

STEPS = 8
"""Tokens that are generated."""


def enough_tokens(text: PretrainedConfig, context: int | None, n_ids: int) -> Tensor:
    """Returns token ids: more than the largest window of the model, where its context and the memory allow it."""
    windows = [window for window in _windows(text.to_dict()) if window + STEPS < MOST_TOKENS]
    length = min(context or MOST_TOKENS, max(FEWEST_TOKENS, *(2 * STEPS + w for w in windows), 0))
    n_sequences = 2 if length <= FEWEST_TOKENS else 1
    return torch.randint(n_ids, (n_sequences, length), generator=torch.Generator().manual_seed(0))


def _windows(settings: dict[str, Any]) -> Iterator[int]:
    """Yields the lengths of windows and chunks, those of single blocks too."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _windows(value)
        elif type(value) is int and any(word in str(name) for word in ("window", "chunk", "local")):
            yield value


@dataclass(frozen=True, eq=False)
class Agreement:
    """The comparison of models with the stack of a dense one.

    Attributes:
        subset: The blocks that they lack.
        ids_BT: What they are given.
    """

    stack: BlockStack
    subset: BlockSubset
    ids_BT: Tensor

    @torch.inference_mode()
    def difference(self, model: PreTrainedModel) -> str:
        """Returns by how much the logits of one pass differ more than rounding, or nothing."""
        return self._beyond(self.ids_BT, model(self.ids_BT, use_cache=False).logits)

    @torch.inference_mode()
    def difference_generating(self, model: PreTrainedModel, *, use_cache: bool = True) -> str:
        """Returns by how much the logits of generated tokens differ more than rounding, or nothing."""
        prompt_BT = self.ids_BT[:, :-STEPS]
        ids_BT, logits_BTV = _generated(model, prompt_BT, use_cache=use_cache)
        return self._beyond(ids_BT[:, :-1], logits_BTV)

    def _beyond(self, ids_BT: Tensor, logits_BTV: Tensor) -> str:
        """Says by how much the logits of the last tokens differ from those of the stack, if it is not rounding."""
        expected = self.stack.run(ids_BT, self.subset)
        by = (logits_BTV - expected[:, -logits_BTV.shape[1] :]).abs().max().item()
        if by <= LEAST_UNITS * torch.finfo(expected.dtype).eps * expected.abs().max().item():
            return ""
        allowed = tolerance(self.stack, ids_BT, self.subset, expected)  # which runs all of it once more
        return "" if by <= allowed else f"{DIFFER} by {by:.2g}, where rounding makes {allowed:.2g}"


def _generated(model: PreTrainedModel, prompt_BT: Tensor, *, use_cache: bool) -> tuple[Tensor, Tensor]:
    """Returns a prompt with the likeliest tokens after it, and the logits that they were chosen by."""
    from transformers import GenerationConfig

    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        how = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        generate: Any = model.generate
        out = generate(prompt_BT, max_new_tokens=STEPS, use_cache=use_cache, **how)
    finally:
        model.generation_config = own
    return out.sequences, torch.stack(out.logits, dim=1)
