"""What everything after a search works on: a model, the blocks that went, and what was done to the weights since."""

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Self

from transformers import PretrainedConfig, PreTrainedModel

from deprune.core.fingerprint import digest_of, file_name_of
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.model.blocks import BlockStack
from deprune.model.load import LoadedModel
from deprune.model.prune import blocks_removed


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """A pruned model.

    Attributes:
        loaded: All blocks, with the weights of the dense model, or with its own after a treatment.
        subset: The removed blocks.
        treatment: Identity of what was done to the weights; None for nothing.
    """

    loaded: LoadedModel
    subset: BlockSubset
    treatment: dict[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Returns what its scores are a function of, beside the scorer."""
        treated = {} if self.treatment is None else {"treat": self.treatment}
        return {**self.loaded.identity(), "subset": self.subset.bits(), **treated}

    @property
    def place(self) -> str:
        """Where files about this model lie: a folder for all that agree but for subset and treatment, and a name."""
        context = self.identity()
        subset, treatment = context.pop("subset"), context.pop("treat", None)
        treated = "" if treatment is None else f"-{digest_of(treatment)}"
        return f"{file_name_of(context['name'])}-{digest_of(context)}/{file_name_of(subset + treated)}"

    def module(self, settings: PretrainedConfig | None = None) -> AbstractContextManager[PreTrainedModel]:
        """Gives the physically pruned model for the length of a `with` statement; see `blocks_removed`."""
        return blocks_removed(self.loaded.stack.model, self.subset, settings)

    def with_own_weights(self) -> Self:
        """Returns a copy on the first device whose weights may be changed; the dense model's must never be."""
        stack = BlockStack(copy.deepcopy(self.loaded.stack.model))
        return replace(self, loaded=replace(self.loaded, stacks=(stack,), memory=Memory()))
