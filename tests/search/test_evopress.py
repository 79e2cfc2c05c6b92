"""EvoPress: what is asked of how many samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem
from deprune.search.evopress import EvoPress
from tests.toys import ToyLosses, quadratic_loss

subsets = st.sets(st.integers(1, 7), min_size=3, max_size=3).map(lambda blocks: BlockSubset.of(8, blocks))


def evopress_requests(**options: bool | float) -> list[tuple[int, int]]:
    """Number of subsets and of samples of each question that EvoPress asks."""
    asked: list[tuple[int, int]] = []

    @dataclass
    class Noting(ToyLosses):
        def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
            asked.append((len(subsets), n_samples or self.n_samples))
            return super().losses(subsets, n_samples)

    source = Noting(quadratic_loss(24, seed=3), 24, n_samples=16)
    EvoPress(generations=3, **options).run(Problem(SearchSpace(24, 8), source), np.random.default_rng(0))
    return asked


def test_evopress_selects_on_few_samples_and_then_on_all() -> None:
    start, first, second, *_ = evopress_requests()
    assert (start, first) == ((64, 2), (32, 2))
    assert second == (3, 16), "the parent and the two survivors"
    assert [n for n, samples in evopress_requests() if samples == 16] == [3, 2, 2]
    assert evopress_requests(from_oneshot=True)[0] == (24, 16)
    assert evopress_requests(early_fraction=0.5)[0] == (64, 8)
