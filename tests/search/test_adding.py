"""The documentation's example of a new search is run as it stands there."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from omegaconf import OmegaConf

from deprune.core.build import build_target
from deprune.core.errors import ConfigError
from deprune.core.kinds import Guarantee
from deprune.core.subset import BlockSubset
from deprune.record.legacy import search_facts
from deprune.record.store import read_record
from deprune.search.base import Problem, Search, SearchResult
from deprune.search.random import Random
from deprune.testing import check_search
from tests.conftest import ROOT, Command

GUIDE = (ROOT / "deprune" / "search" / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.slow
def test_the_example_of_the_guide_runs_from_a_users_folder(sweep: Command, tmp_path: Path) -> None:
    code, yaml = CODE[0], re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[0]
    assert len((code + yaml).splitlines()) < 40
    folder = tmp_path / "mine"
    (folder / "search").mkdir(parents=True)
    (folder / "best_of_random.py").write_text(code)
    (folder / "search" / "best_of_random.yaml").write_text(yaml)
    small = ["budget=2", "calib.n_samples=4", "calib.seq_len=32", "eval=none", "tracking=none"]
    result = sweep(
        f"hydra.searchpath=[file://{folder}]", "search=best_of_random", *small, env={"PYTHONPATH": str(folder)}
    )
    assert result.code == 0, result.err
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert record.factors.search == "best_of_random"
    assert record.identity["search"]["draws"] == 9
    assert record.removal.trace[-1]["evaluations"] <= 9


@pytest.mark.parametrize(("code", "name"), [*zip(CODE, ("BestOfRandom", "Weakest"), strict=True)])
def test_the_examples_of_the_guide_keep_the_contract(
    code: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"example_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    check_search(getattr(importlib.import_module(f"example_{name}"), name)())


@dataclass(frozen=True, kw_only=True)
class Broken(Random):
    """Breaks what it is told to."""

    what: str = "nothing"

    def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
        n_blocks, removable = problem.space.n_blocks, problem.space.removable
        if self.what == "randomness":
            np.random.rand()
        elif self.what == "space":
            return SearchResult.of(BlockSubset(n_blocks, tuple(range(problem.space.budget))))
        elif self.what == "seed":
            return SearchResult.of(BlockSubset(n_blocks, removable[: problem.space.budget]))
        elif self.what == "best":
            return SearchResult.of(
                max([problem.space.sample(rng) for _ in range(9)], key=lambda s: problem.losses([s]))
            )
        elif self.what == "question":
            problem.losses([BlockSubset(n_blocks, tuple(range(n_blocks)))])
        elif self.what == "order":
            return SearchResult(problem.space.sample(rng), ())
        return super().run(problem, rng)


@dataclass(frozen=True, kw_only=True)
class Boasting(Random):
    """Says that it keeps every law."""

    guarantees: ClassVar[frozenset[Guarantee]] = frozenset(Guarantee)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("randomness", "a generator that the whole process shares"),
        ("space", "which is not in"),
        ("seed", "uses_seed=True, which is not so"),
        ("best", "a better subset than the one that it returns"),
        ("question", "which removes protected blocks|larger than the budget"),
        ("order", "its order is not one of the removed blocks"),
    ],
)
def test_the_contract_tells_what_is_broken(what: str, sentence: str) -> None:
    check_search(Broken())
    with pytest.raises(AssertionError, match=sentence):
        check_search(Broken(what=what))
    with pytest.raises(AssertionError, match=r"it (does not|is worse)|of equal subsets"):
        check_search(Boasting())


def test_a_search_must_say_of_which_kind_it_is() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Nameless(Search):
        def run(self, problem: Problem, rng: np.random.Generator) -> SearchResult:
            return SearchResult.of(problem.space.sample(rng))

    with pytest.raises(
        ConfigError, match=r"The search test_adding does not say .*kind: ClassVar\[Kind\] = Kind\.COMPLEX"
    ):
        Nameless()


def test_searches_say_what_the_first_edition_said_of_them() -> None:
    for path in (ROOT / "conf" / "search").glob("*.yaml"):
        search = build_target(OmegaConf.load(path), Search, "search")
        assert search.facts() == search_facts(path.stem) | {"guarantees": tuple(search_facts(path.stem)["guarantees"])}


def test_searches_load_no_library_before_they_need_it() -> None:
    names = [path.stem for path in (ROOT / "deprune" / "search").glob("*.py")]
    code = f"import sys, {', '.join(f'deprune.search.{name}' for name in names)}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "sklearn", "transformers"} & set(loaded)


def test_the_table_has_every_search_and_what_it_costs() -> None:
    table = GUIDE.split("\n## ")[0]
    costs = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))
    conf = {path.stem: OmegaConf.load(path) for path in (ROOT / "conf" / "search").glob("*.yaml")}
    assert set(costs) == set(conf)
    ga, swaps = conf["ga"], conf["fast_block_select"]
    children = ga.generations * (ga.population - round(ga.elitism * ga.population))
    assert f"N + {ga.population + children}" in costs["ga"]
    assert f"N + {conf['bo'].trials}" in costs["bo"]
    assert f"+ {conf['beam'].width} Σ" in costs["beam"]
    assert f"+ {conf['cbo'].candidates}" in costs["cbo"]
    assert f"≤ {1 + swaps.swaps * swaps.max_rounds}," in costs["fast_block_select"]
