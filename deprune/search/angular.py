"""The run of blocks across which the hidden state turns least."""

from dataclasses import dataclass

import numpy as np

from deprune.core.subset import BlockSubset
from deprune.search.base import Batches, Floats, Generator, Kind, Problem, Search, SearchResult, Statistic, states_at


@dataclass(frozen=True, kw_only=True)
class AngularDistances(Statistic):
    """The mean over samples of arccos(cos(h_i, h_j))/π at the last token, `(N + 1, N + 1)`.

    Source: Gromov et al. (arXiv:2403.17887), equation 4.
    """

    name = "angular_distances"

    def measure(self, batches: Batches) -> Floats:
        """Compares each state with each."""
        import torch
        from torch.nn import functional

        states_NBD = states_at(batches, [batch.last_tokens() for batch in batches])
        unit_NBD = functional.normalize(states_NBD, dim=-1)
        cosines_NNB = torch.einsum("ibd,jbd->ijb", unit_NBD, unit_NBD).clamp(-1, 1)
        distances: Floats = torch.arccos(cosines_NNB).mean(dim=-1).numpy() / np.pi
        np.fill_diagonal(distances, 0)  # the arccosine of a rounded one is not zero
        return distances


@dataclass(frozen=True, kw_only=True)
class Angular(Search):
    """Removes the k consecutive blocks ℓ..ℓ+k−1 of smallest arccos(cos(h_ℓ, h_{ℓ+k}))/π at the last token.

    Source: Gromov et al. (arXiv:2403.17887), without their finetuning afterwards.
    Deviations: runs with a protected block do not compete.
    Cost: one forward pass of the dense model, no evaluation but that of the result.
    """

    kind, order = Kind.SIMPLE, 2

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Compares all runs of k blocks."""
        space, distances = problem.space, problem.statistic(AngularDistances())
        runs = [range(first, first + space.budget) for first in range(space.n_blocks - space.budget + 1)]
        allowed = [run for run in runs if space.protected.isdisjoint(run)]
        best = min(allowed, key=lambda run: (distances[run.start, run.stop], run.start))
        return SearchResult.of(BlockSubset.of(space.n_blocks, best))
