"""The protocol of a treatment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from deprune.core.build import name_of

if TYPE_CHECKING:
    import numpy as np

    from deprune.data.samples import CalibrationSet
    from deprune.model.pruned import PrunedModel


@dataclass(frozen=True, kw_only=True)
class Treatment(ABC):
    """Changes the weights of a pruned model before it is scored; its fields are its settings. Plug-in of `conf/treat`.

    Attributes:
        version: Raised when it does something else, so that old scores are not taken for new.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def apply(self, pruned: PrunedModel, samples: CalibrationSet, rng: np.random.Generator) -> PrunedModel:
        """Returns the treated model.

        Args:
            pruned: The model; `pruned.with_own_weights()` gives a copy that may be changed.
            samples: The samples that the blocks were chosen on.
            rng: All randomness comes from it.
        """

    def identity(self) -> dict[str, Any] | None:
        """Returns what was done to the weights; None only where that is nothing."""
        return {"name": name_of(self), "version": self.version, **asdict(self)}

    def treated(self, pruned: PrunedModel, samples: CalibrationSet, rng: np.random.Generator) -> PrunedModel:
        """Returns the treated model under its own identity.

        Raises:
            AssertionError: The treatment gives back the dense model's own weights.
        """
        if self.identity() is None:
            return pruned
        result = self.apply(pruned, samples, rng)
        if result.loaded is pruned.loaded:
            raise AssertionError(f"the treatment {name_of(self)} must change a copy of the weights, with_own_weights()")
        return replace(result, treatment=self.identity())
