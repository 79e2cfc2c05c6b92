"""Constrained binary optimisation: the solver against brute force, the model against its definition."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset
from deprune.search import cbo
from deprune.search.cbo import ConstrainedBinaryOptimisation, lowest_states
from tests.toys import problem, quadratic_loss

seeds = st.integers(0, 2**32)
quick = settings(max_examples=30, deadline=None)


def brute_force_states(fields: NDArray[np.float64], couplings: NDArray[np.float64], size: int) -> list[tuple[int, ...]]:
    def energy(state: tuple[int, ...]) -> float:
        return float(sum(fields[i] for i in state) + sum(couplings[i, j] for i, j in itertools.combinations(state, 2)))

    return sorted(itertools.combinations(range(len(fields)), size), key=lambda state: (energy(state), state))


@st.composite
def quadratic_models(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Models of few whole numbers, so that energies are exact and often equal."""
    n = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(seeds))
    spread = draw(st.sampled_from([0, 1, 5, 100]))
    upper = np.triu(rng.integers(-spread, spread + 1, (n, n)), 1).astype(float)
    return rng.integers(-spread, spread + 1, n).astype(float), upper + upper.T, draw(st.integers(1, n))


@pytest.mark.parametrize("chunk", [2, 2048])
@given(model=quadratic_models(), n_states=st.sampled_from([1, 5, 20]))
@settings(deadline=None)
def test_lowest_states_are_those_of_brute_force(
    chunk: int, model: tuple[NDArray[np.float64], NDArray[np.float64], int], n_states: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cbo, "CHUNK", chunk)
        assert lowest_states(*model, n_states) == brute_force_states(*model)[:n_states]


def test_lowest_states_of_a_real_valued_model_of_18_blocks() -> None:
    rng = np.random.default_rng(1)
    upper = np.triu(rng.normal(size=(18, 18)), 1)
    model = rng.normal(size=18), upper + upper.T, 6
    assert lowest_states(*model, 20) == brute_force_states(*model)[:20]


@pytest.mark.slow
def test_the_lowest_of_ninety_four_million_states_take_little_memory() -> None:
    rng = np.random.default_rng(2)
    upper = np.triu(rng.normal(size=(36, 36)), 1)
    fields, couplings = rng.normal(size=36), upper + upper.T
    tracemalloc.start()
    states = lowest_states(fields, couplings, 9, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 2**20

    def energy(state: Sequence[int]) -> float:
        return float(fields[list(state)].sum() + couplings[np.ix_(state, state)].sum() / 2)

    energies = [energy(s) for s in states]
    assert energies == sorted(energies)
    for _ in range(2000):  # nothing drawn, and nothing one swap away from the best, is lower than the 20th
        assert energy(sorted(rng.choice(36, 9, replace=False))) >= energies[0]
    rest = [b for b in range(36) if b not in states[0]]
    nearby = [sorted({*states[0]} - {a} | {b}) for a in states[0] for b in rest]
    assert {tuple(s) for s in nearby if energy(s) < energies[-1]} <= {*states}


@quick
@given(seeds, st.integers(1, 7))
def test_cbo_is_exact_for_losses_of_pairs(seed: int, budget: int) -> None:
    """The toy loss has terms of single blocks and pairs only, so the model is the loss."""
    loss = quadratic_loss(8, seed)
    best = min(loss(BlockSubset(8, r)) for r in itertools.combinations(range(8), budget))
    search = ConstrainedBinaryOptimisation(candidates=1)
    assert loss(search.run(problem(loss, 8, budget), np.random.default_rng(0)).subset) == pytest.approx(best)


@quick
@given(seeds, st.integers(1, 2))
def test_cbo_is_exact_for_any_loss_up_to_two_blocks(seed: int, budget: int) -> None:
    table = dict(zip(all_subsets(7), np.random.default_rng(seed).random(2**7).tolist(), strict=True))
    task = problem(table.__getitem__, 7, budget, (0,))
    best = min((s for s in table if s in task.space), key=table.__getitem__)
    assert ConstrainedBinaryOptimisation(candidates=1).run(task, np.random.default_rng(0)).subset == best


def test_cbo_takes_the_truly_best_of_the_models_best() -> None:
    table = dict(zip(all_subsets(7), np.random.default_rng(3).random(2**7).tolist(), strict=True))
    task = problem(table.__getitem__, 7, 3)
    found = ConstrainedBinaryOptimisation(candidates=6).run(task, np.random.default_rng(0)).subset
    ranked = brute_force_states(*cbo.fit_quadratic(problem(table.__getitem__, 7, 3)), 3)[:6]
    assert found == min((BlockSubset(7, state) for state in ranked), key=table.__getitem__)
    assert len(task.source.computed) == 1 + 7 + 21 + 6


def test_the_model_is_that_of_single_and_pair_losses_of_removable_blocks() -> None:
    loss, blocks = quadratic_loss(6, 3), [0, 1, 3, 4, 5]
    fields, couplings = cbo.fit_quadratic(problem(loss, 6, 3, protected=(2,)))
    for i, j in itertools.combinations(range(5), 2):
        assert fields[i] + fields[j] + couplings[i, j] == pytest.approx(loss(BlockSubset(6, (blocks[i], blocks[j]))))


def test_cbo_refuses_too_many_states_before_it_asks() -> None:
    task = problem(lambda s: 0.0, 80, 20)
    with pytest.raises(ConfigError, match=r"subsets of 20 blocks, more than search\.max_states=10,000,000,000"):
        ConstrainedBinaryOptimisation().run(task, np.random.default_rng(0))
    assert task.source.computed == []


def all_subsets(n_blocks: int) -> list[BlockSubset]:
    return [BlockSubset(n_blocks, r) for k in range(n_blocks + 1) for r in itertools.combinations(range(n_blocks), k)]
