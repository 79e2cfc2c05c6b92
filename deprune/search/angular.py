"""The run of blocks across which the hidden state turns least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deprune.core.subset import BlockSubset
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class Angular(Search):
    """Removes the k consecutive blocks ℓ..ℓ+k−1 of smallest arccos(cos(h_ℓ, h_{ℓ+k}))/π at the last token.

    Source: Gromov et al. (arXiv:2403.17887), without their finetuning afterwards.
    Deviations: runs with a protected block do not compete.
    Cost: one forward pass of the dense model, no evaluation but that of the result.
    """

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Compares all runs of k blocks."""
        space, distances = problem.space, problem.source.angular_distances()
        runs = [range(first, first + space.budget) for first in range(space.n_blocks - space.budget + 1)]
        allowed = [run for run in runs if space.protected.isdisjoint(run)]
        best = min(allowed, key=lambda run: (distances[run.start, run.stop], run.start))
        return SearchResult.of(BlockSubset.of(space.n_blocks, best))
