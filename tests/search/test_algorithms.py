"""Single searches against brute force and the definitions of their papers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deprune.errors import ConfigError
from deprune.prior import BlockPrior
from deprune.search import evopress, ga
from deprune.search.angular import Angular
from deprune.search.base import Problem
from deprune.search.beam import Beam
from deprune.search.bo import expected_improvement
from deprune.search.cbo import ConstrainedBinaryOptimisation, fit_quadratic, lowest_states
from deprune.search.exhaustive import Exhaustive
from deprune.search.fast_block_select import runs
from deprune.search.greedy import Greedy
from deprune.search.last import Last
from deprune.search.local import Local
from deprune.search.shortgpt import ShortGPT
from deprune.subset import BlockSubset, SearchSpace
from tests.toys import Loss, ToyLosses, problem, quadratic_loss

seeds = st.integers(0, 2**32)
few = settings(max_examples=20, deadline=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@few
@given(seeds, st.integers(1, 6))
def test_a_beam_of_one_is_greedy(seed: int, budget: int) -> None:
    loss = quadratic_loss(8, seed)
    one, greedy = (s.run(problem(loss, 8, budget), rng()) for s in (Beam(width=1), Greedy()))
    assert one.subset == greedy.subset


@few
@given(seeds, st.integers(2, 4), st.integers(2, 5))
def test_beam_against_a_second_implementation(seed: int, width: int, budget: int) -> None:
    loss = quadratic_loss(7, seed)
    beam: set[frozenset[int]] = {frozenset()}
    for _ in range(budget):
        extended = {kept | {b} for kept in beam for b in range(7) if b not in kept}
        beam = set(sorted(extended, key=lambda s: loss(BlockSubset.of(7, s)))[:width])
    best = min(beam, key=lambda s: loss(BlockSubset.of(7, s)))
    assert set(Beam(width=width).run(problem(loss, 7, budget), rng()).subset.removed) == best


@few
@given(seeds, st.integers(1, 6), st.integers(1, 30))
def test_the_lowest_states_are_those_of_brute_force(seed: int, size: int, n_states: int) -> None:
    draw = rng(seed)
    fields, couplings = draw.normal(size=9), draw.normal(size=(9, 9))
    couplings = np.triu(couplings, 1) + np.triu(couplings, 1).T

    def energy(state: tuple[int, ...]) -> float:
        return sum(fields[i] for i in state) + sum(couplings[i, j] for i, j in itertools.combinations(state, 2))

    expected = sorted(itertools.combinations(range(9), size), key=energy)[:n_states]
    assert lowest_states(fields, couplings, size, n_states) == expected


@few
@given(seeds, st.integers(1, 6))
def test_cbo_is_exact_where_its_model_is(seed: int, budget: int) -> None:
    """For two blocks the model is the loss; for a loss with pairs alone it is at any budget."""
    loss = quadratic_loss(8, seed)
    wild = rng(seed).random(2**8)
    for task in (problem(loss, 8, budget), problem(lambda s: wild[int(s.bits(), 2)], 8, min(budget, 2))):
        exact = Exhaustive().run(Problem(task.space, task.source), rng()).subset
        assert ConstrainedBinaryOptimisation(candidates=1).run(task, rng()).subset == exact


def test_the_quadratic_model_is_that_of_single_and_pair_losses() -> None:
    loss = quadratic_loss(6, 3)
    fields, couplings = fit_quadratic(problem(loss, 6, 3, protected=(2,)))
    blocks = [0, 1, 3, 4, 5]
    for state in itertools.combinations(range(5), 2):
        model = fields[list(state)].sum() + couplings[state]
        assert model == pytest.approx(loss(BlockSubset.of(6, [blocks[i] for i in state])))


def test_too_many_subsets_are_refused_with_their_number() -> None:
    with pytest.raises(ConfigError, match=r"4,845 subsets of 4 blocks.*search.max_subsets=1,000"):
        Exhaustive(max_subsets=1000).run(problem(quadratic_loss(20, 0), 20, 4), rng())
    with pytest.raises(ConfigError, match=r"4,845 subsets of 4 blocks.*search.max_states=1,000"):
        ConstrainedBinaryOptimisation(max_states=1000).run(problem(quadratic_loss(20, 0), 20, 4), rng())


def test_local_ends_where_no_swap_helps() -> None:
    loss = quadratic_loss(10, 11)
    subset = Local().run(problem(loss, 10, 4), rng()).subset
    space = SearchSpace(10, 4)
    assert all(loss(subset) <= loss(n) for n in space.subsets() if len({*n.removed} - {*subset.removed}) == 1)


def test_searches_by_hidden_states_are_their_definitions() -> None:
    source = ToyLosses(quadratic_loss(9, 0), 9)
    influence, distances = source.block_influence(), source.angular_distances()
    shortgpt = ShortGPT().run(Problem(SearchSpace(9, 3), source), rng())
    assert list(shortgpt.order) == np.argsort(influence)[:3].tolist()
    first = int(np.argmin([distances[i, i + 3] for i in range(7)]))
    angular = Angular().run(Problem(SearchSpace(9, 3), source), rng()).subset
    assert angular.removed == (first, first + 1, first + 2)
    assert Last().run(Problem(SearchSpace(9, 3), source), rng()).subset.removed == (5, 6, 7)
    assert source.computed == [], "no subset was evaluated"


@few
@given(seeds, st.integers(2, 6))
def test_children_and_mutants_stay_in_the_space(seed: int, budget: int) -> None:
    task, draw = problem(quadratic_loss(9, seed), 9, budget, protected=(0, 8)), rng(seed)
    prior = BlockPrior.of(task, 1.0)
    mother, father = prior.draw_subset(draw), prior.draw_subset(draw)
    child = ga.cross(mother, father, prior, draw)
    assert {*mother.removed} & {*father.removed} <= {*child.removed} <= {*mother.removed} | {*father.removed}
    for mutant in (ga.mutate(child, prior, draw), evopress.mutate(task, child, draw)):
        assert mutant in task.space
        assert mutant != child or len(task.space.remaining(child)) == 0


def test_the_prior_draws_good_blocks_more_often() -> None:
    task = problem(lambda s: float(s.removed[0]), 5, 1)
    prior, draw = BlockPrior.of(task, 1.0), rng()
    counts = np.bincount([prior.draw(1, task.space.removable, draw)[0] for _ in range(20_000)], minlength=5)
    z = (np.arange(5) - 2) / np.sqrt(2)
    assert counts / 20_000 == pytest.approx(np.exp(-z) / np.exp(-z).sum(), abs=0.015)


def test_expected_improvement_is_high_near_the_best_and_small_at_what_is_known() -> None:
    loss: Loss = lambda s: float(sum(s.removed))  # noqa: E731
    space = SearchSpace(8, 3)
    known = {s: loss(s) for s in [BlockSubset.of(8, r) for r in ([0, 1, 4], [5, 6, 7], [2, 5, 7], [1, 3, 6])]}
    near, far = BlockSubset.of(8, [0, 1, 2]), BlockSubset.of(8, [4, 6, 7])
    improvement = expected_improvement([near, far, *known], known, np.arange(8.0))
    assert near in space
    assert improvement[0] > 10 * max(improvement[1:])


def test_runs_are_consecutive() -> None:
    assert list(runs([1, 2, 3, 6], 3)) == [(1,), (2,), (3,), (6,), (1, 2), (2, 3), (1, 2, 3)]


def test_evopress_spends_whole_evaluations_on_survivors_only() -> None:
    source = ToyLosses(quadratic_loss(10, 2), 10)
    search = evopress.EvoPress(offspring=8, survivors=2, starts=5, generations=4)
    search.run(Problem(SearchSpace(10, 4), source), rng())
    whole = [s for s, n in source.computed if n == source.n_samples]
    early = [s for s, n in source.computed if n == 1]
    assert len(whole) <= 4 * 2 + 1
    assert len(early) <= 5 + 4 * 8
