"""The genetic algorithm's operators and cost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deprune.core.subset import BlockSubset
from deprune.search import ga
from deprune.search.ga import Genetic
from deprune.search.prior import BlockPrior
from tests.toys import problem, quadratic_loss

seeds = st.integers(0, 2**32)
subsets = st.sets(st.integers(1, 7), min_size=3, max_size=3).map(lambda blocks: BlockSubset.of(8, blocks))
prior = BlockPrior.of(problem(quadratic_loss(8, seed=7), 8, 3, (0,)), temperature=1.0)


@given(subsets, subsets, seeds)
def test_children_keep_what_their_parents_share(a: BlockSubset, b: BlockSubset, seed: int) -> None:
    child = ga.cross(a, b, prior, np.random.default_rng(seed))
    assert child in prior.space
    assert {*a.removed} & {*b.removed} <= {*child.removed} <= {*a.removed} | {*b.removed}


@given(subsets, seeds)
def test_a_mutation_is_one_swap(subset: BlockSubset, seed: int) -> None:
    mutant = ga.mutate(subset, prior, np.random.default_rng(seed))
    assert mutant in prior.space
    assert len({*subset.removed} - {*mutant.removed}) == 1


def test_ga_costs_what_it_says() -> None:
    task = problem(quadratic_loss(16, seed=3), 16, 6)
    Genetic().run(task, np.random.default_rng(0))
    batches = [len(batch) for batch in task.source.asked]
    assert batches == [16, 16, *[13] * 10]
