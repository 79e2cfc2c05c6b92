"""ShortGPT: removal by Block Influence."""

import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from deprune.core.subset import BlockSubset
from deprune.search.base import Batches, Floats, Generator, Kind, Problem, Search, SearchResult, Statistic


@dataclass(frozen=True, kw_only=True)
class BlockInfluence(Statistic):
    """The mean over tokens of 1 − cos(h_i, h_{i+1}), `(N,)`.

    Source: ShortGPT (arXiv:2403.03853), equation 1.
    """

    name = "block_influence"

    def measure(self, batches: Batches) -> Floats:
        """Compares each state with the next."""
        from torch.nn import functional

        sums: defaultdict[int, float] = defaultdict(float)
        count = 0
        for batch in batches:
            real_RT = batch.real_tokens()
            count += int(real_RT.sum())
            for block, (before, after) in enumerate(itertools.pairwise(batch)):
                cosines_RT = functional.cosine_similarity(before.double(), after.double(), dim=-1)
                sums[block] += (1 - cosines_RT)[real_RT.to(cosines_RT.device)].sum().item()
        return np.array([*sums.values()]) / count


@dataclass(frozen=True, kw_only=True)
class ShortGPT(Search):
    """Removes the k blocks of smallest Block Influence, the mean over tokens of 1 − cos(h_in, h_out).

    Source: ShortGPT (arXiv:2403.03853).
    Cost: one forward pass of the dense model, no evaluation but that of the result.
    """

    kind, order = Kind.SIMPLE, 3

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Takes the k blocks that turn the hidden state least."""
        order = problem.space.lowest(problem.statistic(BlockInfluence()).tolist())
        return SearchResult(BlockSubset.of(problem.space.n_blocks, order), order)
