"""Every search of `conf/search` keeps the promises of its kind; known ones are checked by brute force."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from deprune.calib.base import CalibConfig
from deprune.calib.corpora import EmbeddedCorpus
from deprune.calib.draw import draw_windows
from deprune.cli import CONF_DIR
from deprune.config import build_target
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.store import EvaluationStore
from deprune.model.load import LoadedModel
from deprune.model.prune import prune_blocks
from deprune.objective.nll import NegativeLogLikelihood
from deprune.search.base import Problem, Search
from deprune.search.greedy import Greedy
from deprune.search.oneshot import OneShot
from deprune.search.random import Random
from deprune.subset import BlockSubset, SearchSpace
from tests.conftest import FAMILIES
from tests.toys import problem, quadratic_loss

SEARCHES = sorted(path.stem for path in (CONF_DIR / "search").glob("*.yaml"))


def make(name: str, **settings: int) -> Search:
    node = OmegaConf.merge(OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml"), settings)
    return build_target(node, Search, "search")


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("budget", "protected"), [(1, ()), (3, ()), (3, (0, 7)), (7, ()), (6, (0, 7))])
def test_result_is_feasible(name: str, budget: int, protected: tuple[int, ...]) -> None:
    task = problem(quadratic_loss(8, seed=1), 8, budget, protected)
    result = make(name).run(task, np.random.default_rng(0))
    assert result.subset in task.space
    assert sorted(result.order) == list(result.subset.removed)


@pytest.mark.parametrize("name", SEARCHES)
def test_same_seed_gives_same_trace_and_leaves_global_state_alone(name: str) -> None:
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    runs = []
    for _ in range(2):
        task = problem(quadratic_loss(8, seed=2), 8, 3)
        runs.append((make(name).run(task, np.random.default_rng(5)), task.trace))
    assert runs[0] == runs[1]
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@given(st.integers(0, 2**32), st.integers(2, 7))
def test_greedy_takes_the_best_extension_each_time(seed: int, budget: int) -> None:
    loss = quadratic_loss(8, seed)
    chosen: list[int] = []
    for _ in range(budget):
        rest = [b for b in range(8) if b not in chosen]
        chosen.append(min(rest, key=lambda b: loss(BlockSubset.of(8, [*chosen, b]))))
    assert Greedy().run(problem(loss, 8, budget), np.random.default_rng()).order == tuple(chosen)


@given(st.integers(0, 2**32))
def test_loss_based_searches_are_exact_for_one_block(seed: int) -> None:
    loss = quadratic_loss(8, seed)
    best = min((BlockSubset.of(8, [b]) for b in range(8)), key=loss)
    for search in (OneShot(), Greedy()):
        assert search.run(problem(loss, 8, 1), np.random.default_rng()).subset == best


def test_oneshot_is_exact_for_additive_losses_and_costs_n() -> None:
    weights = np.random.default_rng(3).random(9)
    task = problem(lambda s: float(sum(weights[b] for b in s.removed)), 9, 4)
    result = OneShot().run(task, np.random.default_rng())
    assert set(result.subset.removed) == set(np.argsort(weights)[:4].tolist())
    assert task.trace[-1].evaluations == 9


def test_ties_go_to_the_lower_index() -> None:
    for search in (OneShot(), Greedy()):
        assert search.run(problem(lambda s: 1.0, 6, 3), np.random.default_rng()).order == (0, 1, 2)


def test_random_subsets_are_uniform() -> None:
    space = SearchSpace(5, 2)
    task = Problem(space, lambda subsets: [0.0] * len(subsets))
    rng = np.random.default_rng(0)
    drawn = [Random().run(task, rng).subset for _ in range(5000)]
    counts = np.array([drawn.count(s) for s in space.subsets()])
    assert counts.sum() == 5000
    chi_squared = ((counts - 500) ** 2 / 500).sum()
    assert chi_squared < 27.9  # the 0.999 quantile with 9 degrees of freedom


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_greedy_on_physically_pruned_models(
    family: str, embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    loaded = embedded(family)
    calib = CalibConfig(name="facts", corpus=EmbeddedCorpus(corpus="facts"), n_samples=6, seq_len=64, seed=1)
    calibration = draw_windows(calib, 64, loaded.tokenizer, family)
    n_blocks, budget = loaded.stack.n_blocks, 3

    def loss_of_pruned(removed: tuple[int, ...]) -> float:
        model = copy.deepcopy(loaded.stack.model)
        prune_blocks(model, BlockSubset.of(n_blocks, removed))
        with torch.inference_mode():  # transformers' own loss: mean over all predicted tokens
            return float(model(calibration.ids_RT, labels=calibration.ids_RT).loss)

    removed: tuple[int, ...] = ()
    for _ in range(budget):
        rest = [b for b in range(n_blocks) if b not in removed]
        removed = (*removed, min(rest, key=lambda b: loss_of_pruned((*removed, b))))

    evaluator = SubsetEvaluator(
        loaded.stacks, calibration, NegativeLogLikelihood(), EvaluatorConfig(), EvaluationStore(tmp_path)
    )
    task = Problem(SearchSpace(n_blocks, budget), evaluator)
    result = Greedy().run(task, np.random.default_rng())
    assert result.order == removed
    assert task.trace[-1].loss == pytest.approx(loss_of_pruned(removed), abs=1e-5)
    assert evaluator.counter.computed == sum(n_blocks - i for i in range(budget))


def test_space_counts_its_subsets() -> None:
    space = SearchSpace(7, 3, frozenset({0, 6}))
    assert space.size == len(list(space.subsets())) == len(list(itertools.combinations(range(5), 3)))


def test_every_search_is_one_file_and_one_yaml() -> None:
    files = {p.stem for p in (Path(__file__).parents[2] / "deprune" / "search").glob("*.py")} - {"__init__", "base"}
    assert files == set(SEARCHES)
    for name in SEARCHES:
        node = OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml")
        assert str(node._target_).startswith(f"deprune.search.{name}.")
        assert {k for k in node if k != "_target_"} == {f.name for f in dataclasses.fields(make(name))}
