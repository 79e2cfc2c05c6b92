"""Beam search against a brute-force beam, and its two limits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deprune.core.subset import BlockSubset
from deprune.search.beam import Beam
from deprune.search.exhaustive import Exhaustive
from deprune.search.greedy import Greedy
from tests.toys import Loss, problem, quadratic_loss

seeds = st.integers(0, 2**32)
quick = settings(max_examples=30, deadline=None)


def brute_force_beam(loss: Loss, n_blocks: int, budget: int, width: int) -> tuple[int, ...]:
    beam: list[tuple[int, ...]] = [()]
    for _ in range(budget):
        larger = {tuple(sorted({*s, b})) for s in beam for b in range(n_blocks)} - set(beam)
        beam = sorted(larger, key=lambda s: (loss(BlockSubset(n_blocks, s)), s))[:width]
    return beam[0]


@quick
@given(seeds, st.integers(1, 7), st.integers(1, 6))
def test_beam_is_a_brute_force_beam(seed: int, budget: int, width: int) -> None:
    loss = quadratic_loss(8, seed)
    found = Beam(width=width).run(problem(loss, 8, budget), np.random.default_rng(0)).subset
    assert found.removed == brute_force_beam(loss, 8, budget, width)


@quick
@given(seeds, st.integers(1, 7))
def test_beam_of_width_one_is_greedy(seed: int, budget: int) -> None:
    tasks = [problem(quadratic_loss(8, seed), 8, budget) for _ in range(2)]
    narrow = Beam(width=1).run(tasks[0], np.random.default_rng())
    greedy = Greedy().run(tasks[1], np.random.default_rng())
    assert narrow.subset == greedy.subset
    assert tasks[0].trace == tasks[1].trace


def test_beam_of_unlimited_width_is_exhaustive() -> None:
    loss = quadratic_loss(8, seed=11)
    wide, all_ = (s.run(problem(loss, 8, 4), np.random.default_rng(0)).subset for s in (Beam(width=1000), Exhaustive()))
    assert wide == all_
