"""The run of blocks across which the hidden state turns least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deprune.core.kinds import Kind
from deprune.core.subset import BlockSubset
from deprune.search.base import Problem, Search, SearchResult
from deprune.search.statistic import HiddenStates, Statistic, states_at


@dataclass(frozen=True, kw_only=True)
class AngularDistances(Statistic):
    """The mean over samples of arccos(cos(h_i, h_j))/π at the last token, `(N + 1, N + 1)`.

    Source: Gromov et al. (arXiv:2403.17887), equation 4.
    """

    name: ClassVar[str] = "angular_distances"

    def measure(self, batches: Sequence[HiddenStates]) -> NDArray[np.float64]:
        """Compares each state with each."""
        import torch
        from torch.nn import functional

        states_NBD = states_at(batches, [batch.last_tokens() for batch in batches])
        unit_NBD = functional.normalize(states_NBD, dim=-1)
        cosines_NNB = torch.einsum("ibd,jbd->ijb", unit_NBD, unit_NBD).clamp(-1, 1)
        distances: NDArray[np.float64] = torch.arccos(cosines_NNB).mean(dim=-1).numpy() / np.pi
        np.fill_diagonal(distances, 0)  # the arccosine of a rounded one is not zero
        return distances


@dataclass(frozen=True, kw_only=True)
class Angular(Search):
    """Removes the k consecutive blocks ℓ..ℓ+k−1 of smallest arccos(cos(h_ℓ, h_{ℓ+k}))/π at the last token.

    Source: Gromov et al. (arXiv:2403.17887), without their finetuning afterwards.
    Deviations: runs with a protected block do not compete.
    Cost: one forward pass of the dense model, no evaluation but that of the result.
    """

    kind: ClassVar[Kind] = Kind.SIMPLE
    order: ClassVar[int] = 2

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Compares all runs of k blocks."""
        space, distances = problem.space, problem.statistic(AngularDistances())
        runs = [range(first, first + space.budget) for first in range(space.n_blocks - space.budget + 1)]
        allowed = [run for run in runs if space.protected.isdisjoint(run)]
        best = min(allowed, key=lambda run: (distances[run.start, run.stop], run.start))
        return SearchResult.of(BlockSubset.of(space.n_blocks, best))
