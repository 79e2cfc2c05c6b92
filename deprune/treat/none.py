"""No treatment: the pruned model is scored as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.treat.base import Treatment

if TYPE_CHECKING:
    import numpy as np

    from deprune.data.samples import CalibrationSet
    from deprune.model.pruned import PrunedModel


@dataclass(frozen=True, kw_only=True)
class NoTreatment(Treatment):
    """Leaves the weights alone, as the study does (arXiv:2604.24938)."""

    def apply(self, pruned: PrunedModel, samples: CalibrationSet, rng: np.random.Generator) -> PrunedModel:
        """Returns the model."""
        return pruned

    def identity(self) -> None:
        """Returns None: a run without a treatment has the identity that it had before there were any."""
        return
