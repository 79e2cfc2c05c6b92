"""Every search of `conf/search` keeps the promises of its kind."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR, build_target
from deprune.core.errors import ConfigError
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
from tests.conftest import FAMILIES
from tests.toys import ToyLosses, problem, quadratic_loss

SEARCHES = sorted(path.stem for path in (CONF_DIR / "search").glob("*.yaml"))
EXACT_FOR_ONE_BLOCK = ["beam", "bo", "cbo", "evopress", "exhaustive", "ga", "greedy", "local", "oneshot"]
NEVER_WORSE_THAN_ONESHOT = {"bo": {}, "evopress": {"from_oneshot": True}, "exhaustive": {}, "ga": {}, "local": {}}

QUICK = {"bo": {"trials": 16}}

seeds = st.integers(0, 2**32)
few = settings(max_examples=5, deadline=None)


def make(name: str, **overrides: object) -> Search:
    node = OmegaConf.merge(OmegaConf.load(CONF_DIR / "search" / f"{name}.yaml"), overrides)
    return build_target(node, Search, "search")


def quick(name: str, **overrides: object) -> Search:
    return make(name, **QUICK.get(name, {}), **overrides)


@dataclass
class Recorder(ToyLosses):
    """Notes every loss that is asked for, the repeated ones too."""

    requests: list[tuple[BlockSubset, int]] = field(default_factory=list)

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        self.requests += [(s, n_samples or self.n_samples) for s in subsets]
        return super().losses(subsets, n_samples)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("budget", "protected"), [(1, ()), (3, ()), (3, (0, 7)), (7, ()), (6, (0, 7)), (2, (0, 1, 7))])
def test_result_is_feasible(name: str, budget: int, protected: tuple[int, ...]) -> None:
    task = problem(quadratic_loss(8, seed=1), 8, budget, protected)
    result = quick(name).run(task, np.random.default_rng(0))
    assert result.subset in task.space
    assert sorted(result.order) == list(result.subset.removed)
    assert not any({*point.removed} & {*protected} for point in task.trace)


@pytest.mark.parametrize("name", SEARCHES)
def test_result_is_feasible_where_losses_are_infinite(name: str) -> None:
    finite = quadratic_loss(8, seed=4)
    for loss in (lambda s: np.inf if 2 in s.removed else finite(s), lambda s: np.inf):
        task = problem(loss, 8, 3)
        assert quick(name).run(task, np.random.default_rng(0)).subset in task.space


@pytest.mark.parametrize("name", SEARCHES)
def test_same_seed_gives_same_trace_and_leaves_global_state_alone(name: str) -> None:
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    runs = []
    for _ in range(2):
        task = problem(quadratic_loss(8, seed=2), 8, 3)
        runs.append((quick(name).run(task, np.random.default_rng(5)), task.trace))
    assert runs[0] == runs[1]
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_that_ignores_its_seed_says_so(name: str) -> None:
    def asked(seed: int) -> object:
        source = Recorder(quadratic_loss(9, seed=3), 9)
        result = quick(name).run(Problem(SearchSpace(9, 3), source), np.random.default_rng(seed))
        return result, source.requests

    assert quick(name).uses_seed == (len({repr(asked(seed)) for seed in range(5)}) > 1)


@pytest.mark.parametrize("name", SEARCHES)
@few
@given(seed=seeds, budget=st.integers(1, 7))
def test_result_is_the_best_evaluated_subset_and_none_is_evaluated_twice(name: str, seed: int, budget: int) -> None:
    loss = quadratic_loss(7, seed)
    source = Recorder(loss, 7)
    task = Problem(SearchSpace(7, budget), source)
    result = quick(name).run(task, np.random.default_rng(seed))
    assert len(set(source.requests)) == len(source.requests)
    evaluated = [s for s, n in source.requests if n == source.n_samples and s in task.space]
    assert loss(result.subset) == min(map(loss, evaluated), default=loss(result.subset))
    assert [p.loss for p in task.trace if p.n_removed == budget][-1:] == [loss(result.subset)][: len(evaluated)]


@pytest.mark.parametrize("name", EXACT_FOR_ONE_BLOCK)
@few
@given(seed=seeds, protected=st.booleans())
def test_loss_based_searches_agree_with_exhaustive_for_one_block(name: str, seed: int, protected: bool) -> None:
    loss, ends = quadratic_loss(9, seed), (0, 8) if protected else ()
    best = min((BlockSubset.of(9, [b]) for b in range(9) if b not in ends), key=loss)
    assert quick(name).run(problem(loss, 9, 1, ends), np.random.default_rng(seed)).subset == best


@pytest.mark.parametrize("name", NEVER_WORSE_THAN_ONESHOT)
@few
@given(seed=seeds, budget=st.integers(1, 6))
def test_never_worse_than_oneshot(name: str, seed: int, budget: int) -> None:
    loss = quadratic_loss(9, seed)
    oneshot = OneShot().run(problem(loss, 9, budget), np.random.default_rng())
    search = quick(name, **NEVER_WORSE_THAN_ONESHOT[name])
    assert loss(search.run(problem(loss, 9, budget), np.random.default_rng(seed)).subset) <= loss(oneshot.subset)


@dataclass
class ErringRace(ToyLosses):
    """Drops all but the worst subset."""

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        return [max(subsets, key=self.loss)]


@pytest.mark.parametrize("name", SEARCHES)
def test_errors_of_racing_do_no_worse_than_mislead(name: str) -> None:
    loss = quadratic_loss(9, seed=5)
    task = Problem(SearchSpace(9, 3), ErringRace(loss, 9))
    found = quick(name, **NEVER_WORSE_THAN_ONESHOT.get(name, {})).run(task, np.random.default_rng(0)).subset
    assert found in task.space
    if name in NEVER_WORSE_THAN_ONESHOT:
        assert loss(found) <= loss(OneShot().run(problem(loss, 9, 3), np.random.default_rng()).subset)


@pytest.mark.parametrize("name", SEARCHES)
@few
@given(seed=seeds, budget=st.integers(1, 7))
def test_exhaustive_is_never_worse(name: str, seed: int, budget: int) -> None:
    loss = quadratic_loss(7, seed)
    exhaustive, other = (
        quick(n).run(problem(loss, 7, budget), np.random.default_rng(seed)) for n in ("exhaustive", name)
    )
    assert loss(exhaustive.subset) <= loss(other.subset)


@pytest.mark.parametrize("name", EXACT_FOR_ONE_BLOCK)
def test_loss_based_searches_find_the_optimum_of_an_additive_loss(name: str) -> None:
    weights = np.random.default_rng(9).random(10)
    task = problem(lambda s: float(weights[list(s.removed)].sum()), 10, 4)
    assert {*quick(name).run(task, np.random.default_rng(0)).subset.removed} == {*np.argsort(weights)[:4].tolist()}


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


@pytest.mark.parametrize("name", [n for n in EXACT_FOR_ONE_BLOCK if n != "evopress"])
def test_ties_go_to_the_lower_index(name: str) -> None:
    result = quick(name).run(problem(lambda s: 1.0, 6, 3), np.random.default_rng(0))
    assert result.order == (0, 1, 2)


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
