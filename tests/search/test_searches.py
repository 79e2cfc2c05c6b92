"""Every search of `conf/search` keeps the promises of its kind."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR, build_target
from deprune.core.errors import ConfigError
from deprune.core.kinds import Guarantee
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.load import LoadedModel
from deprune.model.prune import prune_blocks
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem, Search
from deprune.search.greedy import Greedy
from deprune.search.oneshot import OneShot
from deprune.search.random import Random
from deprune.testing import check_search
from tests.conftest import FAMILIES
from tests.toys import problem, quadratic_loss

SEARCHES = sorted(path.stem for path in (CONF_DIR / "search").glob("*.yaml"))

QUICK = {"bo": {"trials": 16}}

seeds = st.integers(0, 2**32)
few = settings(max_examples=5, deadline=None)


def make(name: str, **overrides: object) -> Search:
    node = OmegaConf.merge(OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml"), overrides)
    return build_target(node, Search, "search")


def quick(name: str, **overrides: object) -> Search:
    return make(name, **QUICK.get(name, {}), **overrides)


@pytest.mark.parametrize("name", SEARCHES)
def test_contract(name: str) -> None:
    check_search(quick(name))


def test_the_contract_of_other_settings() -> None:
    better = make("evopress", from_oneshot=True)
    assert Guarantee.NEVER_WORSE_THAN_ONESHOT in better.promised() - make("evopress").promised()
    check_search(better)


@pytest.mark.parametrize("name", SEARCHES)
@few
@given(seed=seeds, budget=st.integers(1, 7))
def test_none_is_evaluated_twice_and_the_trace_ends_at_the_result(name: str, seed: int, budget: int) -> None:
    loss = quadratic_loss(7, seed)
    task = problem(loss, 7, budget)
    result = quick(name).run(task, np.random.default_rng(seed))
    requests = task.source.requests
    assert len(set(requests)) == len(requests)
    evaluated = [s for s, n in requests if n == task.n_samples and s in task.space]
    assert [p.loss for p in task.trace if p.n_removed == budget][-1:] == [loss(result.subset)][: len(evaluated)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
@few
@given(seed=seeds, budget=st.integers(1, 7))
def test_exhaustive_is_never_worse(name: str, seed: int, budget: int) -> None:
    loss = quadratic_loss(7, seed)
    exhaustive, other = (
        quick(n).run(problem(loss, 7, budget), np.random.default_rng(seed)) for n in ("exhaustive", name)
    )
    assert loss(exhaustive.subset) <= loss(other.subset)


@given(seeds, st.integers(2, 7))
def test_greedy_takes_the_best_extension_each_time(seed: int, budget: int) -> None:
    loss = quadratic_loss(8, seed)
    chosen: list[int] = []
    for _ in range(budget):
        rest = [b for b in range(8) if b not in chosen]
        chosen.append(min(rest, key=lambda b: loss(BlockSubset.of(8, [*chosen, b]))))
    assert Greedy().run(problem(loss, 8, budget), np.random.default_rng()).order == tuple(chosen)


def test_oneshot_costs_n() -> None:
    task = problem(quadratic_loss(9, seed=3), 9, 4)
    OneShot().run(task, np.random.default_rng())
    assert len(task.source.computed) == 9


def test_random_subsets_are_uniform() -> None:
    task = problem(lambda s: 0.0, 5, 2)
    rng = np.random.default_rng(0)
    drawn = [Random().run(task, rng).subset for _ in range(5000)]
    counts = np.array([drawn.count(s) for s in task.space.subsets()])
    assert counts.sum() == 5000
    chi_squared = ((counts - 500) ** 2 / 500).sum()
    assert chi_squared < 27.9  # the 0.999 quantile with 9 degrees of freedom


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("oneshot", {"protect_first": -1}),
        ("beam", {"width": 0}),
        ("ga", {"population": 0}),
        ("ga", {"elitism": 1.5}),
        ("ga", {"mutation": -0.1}),
        ("ga", {"temperature": 0.0}),
        ("bo", {"trials": 0}),
        ("cbo", {"candidates": 0}),
        ("evopress", {"survivors": 0}),
        ("evopress", {"early_fraction": 0.0}),
        ("evopress", {"generations": 0}),
        ("fast_block_select", {"swaps": 0}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, setting: dict[str, float]) -> None:
    (key, value), *_ = setting.items()
    with pytest.raises(ConfigError, match=rf"search\.{key}.*{value}"):
        make(name, **setting)


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
    files = {p.stem for p in (Path(__file__).parents[2] / "deprune" / "search").glob("*.py")} - {
        "__init__",
        "base",
        "prior",
    }
    assert files == set(SEARCHES)
    for name in SEARCHES:
        node = OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml")
        assert str(node._target_).startswith(f"deprune.search.{name}.")
        search = make(name)
        assert {k: node[k] for k in node if k != "_target_"} == dataclasses.asdict(search)
        assert type(search)() == search, "the YAML and the dataclass have the same defaults"
