"""Searches that need no losses, in closed form: shortgpt, angular, last."""

from __future__ import annotations

import numpy as np
import pytest

from deprune.search.angular import Angular, AngularDistances
from deprune.search.last import Last
from deprune.search.shortgpt import BlockInfluence, ShortGPT
from tests.toys import problem


def test_shortgpt_removes_the_blocks_of_smallest_influence() -> None:
    task = problem(lambda s: 0.0, 9, 3, protected=(0, 8))
    influence = task.statistic(BlockInfluence())
    result = ShortGPT().run(task, np.random.default_rng(0))
    assert list(result.order) == [b for b in np.argsort(influence) if b not in (0, 8)][:3]
    assert task.source.computed == []


@pytest.mark.parametrize("ends", [(), (0, 8)])
@pytest.mark.parametrize("budget", [1, 3, 7])
def test_angular_removes_the_run_across_which_the_state_turns_least(ends: tuple[int, ...], budget: int) -> None:
    task = problem(lambda s: 0.0, 9, budget, ends)
    distances = task.statistic(AngularDistances())
    starts = [i for i in range(9 - budget + 1) if not {*ends} & {*range(i, i + budget)}]
    first = starts[int(np.argmin([distances[i, i + budget] for i in starts]))]
    assert Angular().run(task, np.random.default_rng(0)).subset.removed == tuple(range(first, first + budget))


@pytest.mark.parametrize(
    ("budget", "ends", "removed"),
    [(1, (), {6}), (3, (), {4, 5, 6}), (7, (), {*range(7)}), (3, (0, 6, 7), {3, 4, 5}), (8, (), {*range(8)})],
)
def test_last_spares_the_very_last_block(budget: int, ends: tuple[int, ...], removed: set[int]) -> None:
    assert {*Last().run(problem(lambda s: 0.0, 8, budget, ends), np.random.default_rng(0)).subset.removed} == removed
