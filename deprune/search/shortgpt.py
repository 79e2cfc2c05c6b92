"""ShortGPT: removal by Block Influence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deprune.core.subset import BlockSubset
from deprune.search.base import Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class ShortGPT(Search):
    """Removes the k blocks of smallest Block Influence, the mean over tokens of 1 − cos(h_in, h_out).

    Source: ShortGPT (arXiv:2403.03853).
    Cost: one forward pass of the dense model, no evaluation but that of the result.
    """

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        """Takes the k blocks that turn the hidden state least."""
        order = problem.space.lowest(problem.source.block_influence().tolist())
        return SearchResult(BlockSubset.of(problem.space.n_blocks, order), order)
