"""Contract tests of the plug-in points, for plug-ins in your own package as well as for the project's.

    from deprune.testing import check_search

    def test_mine() -> None:
        check_search(Mine(draws=5))

Each takes a plug-in and raises an AssertionError that says in a sentence which promise it breaks.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from deprune.core.build import build
from deprune.core.fingerprint import digest_of, digest_of_bytes
from deprune.core.kinds import Guarantee, Kind
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.search.base import Problem, Search, SearchResult, Statistic
from deprune.search.oneshot import OneShot

if TYPE_CHECKING:
    from torch import Tensor

    from deprune.data.samples import CalibrationSet
    from deprune.downstream.base import Score as Row
    from deprune.downstream.base import Scorer
    from deprune.model.load import LoadedModel
    from deprune.objective.base import Objective, Score
    from deprune.treat.base import Treatment

Loss = Callable[[BlockSubset], float]


def quadratic_loss(n_blocks: int, seed: int) -> Loss:
    """Returns a random loss with a term for every block and every pair of removed blocks."""
    rng = np.random.default_rng(seed)
    singles, pairs = rng.random(n_blocks), rng.normal(size=(n_blocks, n_blocks))
    return lambda s: float(
        sum(singles[b] for b in s.removed) + sum(pairs[a, b] for a in s.removed for b in s.removed if a < b)
    )


@dataclass(frozen=True)
class ToyStates:
    """Hidden states that wander, of two rows of 16 tokens."""

    n_blocks: int
    seed: int

    def real_tokens(self) -> Tensor:
        """Returns that all tokens are."""
        import torch

        return torch.ones(2, 16, dtype=torch.bool)

    def last_tokens(self) -> Tensor:
        """Returns the last of each row."""
        import torch

        return torch.tensor([15, 31])

    def __iter__(self) -> Iterator[Tensor]:
        """Yields as many states as a model with these blocks has, `(2, 16, 4)`."""
        import torch

        steps = np.random.default_rng(self.seed).normal(size=(self.n_blocks + 1, 2, 16, 4))
        yield from torch.from_numpy(steps.cumsum(axis=0))


@dataclass
class ToyLosses:
    """A `LossSource` that computes each loss once, as the evaluator does, and notes what it was asked.

    The first n of the samples give the loss plus noise that shrinks to nothing at all of them.
    """

    loss: Loss
    n_blocks: int
    n_samples: int = 8
    computed: list[tuple[BlockSubset, int]] = field(default_factory=list)
    asked: list[Sequence[BlockSubset]] = field(default_factory=list)
    requests: list[tuple[BlockSubset, int]] = field(default_factory=list)

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns the losses."""
        n = n_samples or self.n_samples
        self.asked.append(tuple(subsets))
        self.requests += [(s, n) for s in subsets]
        self.computed += [(s, n) for s in dict.fromkeys(subsets) if (s, n) not in self.computed]
        return [self.loss(s) + (self.n_samples - n) * 1e-3 * (hash(s.removed) % 7) for s in subsets]

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns all."""
        return list(subsets)

    def statistic(self, statistic: Statistic) -> NDArray[np.float64]:
        """Returns the statistic of states that wander."""
        return statistic.measure([ToyStates(self.n_blocks, seed) for seed in (1, 2)])


class ErringRace(ToyLosses):
    """Drops all but the worst subset."""

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns the worst."""
        return [max(subsets, key=self.loss)]


@contextmanager
def global_randomness_untouched() -> Iterator[None]:
    """Raises an AssertionError if what runs inside draws from a generator that the whole process shares."""
    import torch

    def state() -> tuple[object, ...]:
        numpys = np.random.get_state(legacy=False)["state"]
        return random.getstate(), numpys["key"].tolist(), numpys["pos"], torch.get_rng_state().tolist()

    before = state()
    yield
    assert state() == before, "it draws from a generator that the whole process shares"


@dataclass(frozen=True)
class _Trial:
    """A run of a search on a source."""

    space: SearchSpace
    source: ToyLosses
    result: SearchResult
    problem: Problem

    @classmethod
    def of(cls, search: Search, source: ToyLosses, budget: int, protected: Sequence[int] = (), seed: int = 0) -> _Trial:
        space = SearchSpace(source.n_blocks, budget, frozenset(protected))
        problem = Problem(space, source)
        return cls(space, source, search.run(problem, np.random.default_rng(seed)), problem)

    @property
    def loss(self) -> float:
        return self.source.loss(self.result.subset)


def check_search(search: Search) -> None:
    """Tries a search on invented losses of few blocks: what every search promises, and what this one says it does.

    Raises:
        AssertionError: It breaks a promise.
    """
    assert isinstance(search.kind, Kind), "its kind is none of deprune.core.kinds.Kind"
    settings = OmegaConf.create(dataclasses.asdict(search))
    assert build(settings, type(search), "search") == search, "its settings do not survive a configuration"
    _check_feasible(search)
    _check_seed(search)
    _check_best(search)
    for guarantee in search.promised():
        _LAWS[guarantee](search)


def _check_feasible(search: Search) -> None:
    finite = quadratic_loss(8, seed=1)
    losses: list[Loss] = [finite, lambda s: np.inf if 2 in s.removed else finite(s), lambda s: np.inf]
    for budget, protected in ((1, ()), (3, ()), (3, (0, 7)), (7, ()), (6, (0, 7)), (2, (0, 1, 7))):
        for source in (*(ToyLosses(loss, 8) for loss in losses), ErringRace(finite, 8)):
            trial = _Trial.of(search, source, budget, protected)
            found = trial.result
            assert found.subset in trial.space, f"it removes {found.subset.removed}, which is not in {trial.space}"
            assert sorted(found.order) == list(found.subset.removed), "its order is not one of the removed blocks"
            for asked, n_samples in source.requests:
                assert asked.n_blocks == 8, f"it asks for {asked}, of another number of blocks"
                assert not {*asked.removed} & {*protected}, f"it asks for {asked}, which removes protected blocks"
                assert len(asked.removed) <= budget, f"it asks for {asked}, which is larger than the budget"
                assert 1 <= n_samples <= source.n_samples, f"it asks for {n_samples} of {source.n_samples} samples"


def _check_seed(search: Search) -> None:
    def asked(seed: int) -> str:
        trial = _Trial.of(search, ToyLosses(quadratic_loss(9, seed=3), 9), 3, seed=seed)
        return repr((trial.result, trial.source.requests, trial.problem.trace))

    with global_randomness_untouched():
        assert asked(5) == asked(5), "the same seed does not give the same search"
    differs = len({asked(seed) for seed in range(5)}) > 1
    assert search.uses_seed == differs, f"it says uses_seed={search.uses_seed}, which is not so"


def _check_best(search: Search) -> None:
    for seed, budget in enumerate((1, 2, 4, 6)):
        trial = _Trial.of(search, ToyLosses(quadratic_loss(7, seed), 7), budget, seed=seed)
        source = trial.source
        evaluated = [s for s, n in source.requests if n == source.n_samples and s in trial.space]
        best = min(map(source.loss, evaluated), default=trial.loss)
        assert trial.loss == best, "it evaluated a better subset than the one that it returns"


def _check_exact(search: Search) -> None:
    for seed, budget in enumerate((1, 2, 3, 5)):
        trial = _Trial.of(search, ToyLosses(quadratic_loss(7, seed), 7), budget, seed=seed)
        assert trial.loss == min(map(trial.source.loss, trial.space.subsets())), "it does not find the best subset"


def _check_exact_for_one_block(search: Search) -> None:
    for seed, protected in itertools.product(range(3), ((), (0, 8))):
        trial = _Trial.of(search, ToyLosses(quadratic_loss(9, seed), 9), 1, protected, seed)
        assert trial.loss == min(map(trial.source.loss, trial.space.subsets())), "it does not find the best block"
    weights = np.random.default_rng(9).random(10)
    trial = _Trial.of(search, ToyLosses(lambda s: float(weights[list(s.removed)].sum()), 10), 4)
    cheapest = {*np.argsort(weights)[:4].tolist()}
    assert {*trial.result.subset.removed} == cheapest, "it does not find the blocks that cost least where costs add up"


def _check_never_worse_than_oneshot(search: Search) -> None:
    for (seed, budget), kind in itertools.product(enumerate((1, 2, 3, 4, 6)), (ToyLosses, ErringRace)):
        loss = quadratic_loss(9, seed)
        oneshot = _Trial.of(OneShot(), ToyLosses(loss, 9), budget)
        assert _Trial.of(search, kind(loss, 9), budget, seed=seed).loss <= oneshot.loss, "it is worse than one-shot"


def _check_ties(search: Search) -> None:
    order = _Trial.of(search, ToyLosses(lambda s: 1.0, 6), 3).result.order
    assert order == (0, 1, 2), f"of equal subsets it takes {order}"


_LAWS: dict[Guarantee, Callable[[Search], None]] = {
    Guarantee.EXACT: _check_exact,
    Guarantee.EXACT_FOR_ONE_BLOCK: _check_exact_for_one_block,
    Guarantee.NEVER_WORSE_THAN_ONESHOT: _check_never_worse_than_oneshot,
    Guarantee.TIES_TO_LOWER_BLOCKS: _check_ties,
}


def check_objective(objective: Objective, loaded: LoadedModel | None = None) -> None:
    """Tries an objective on a model without two of its blocks, on windows or items of the embedded corpora.

    Args:
        objective: The objective.
        loaded: The model, by default an embedded one.

    Raises:
        AssertionError: It breaks a promise.
    """
    import torch

    assert objective.unit, "it has no unit"
    assert objective.version >= 1, "its version is not a number from 1 on"
    _check_identity(objective.identity())
    loaded = loaded or _embedded_model()
    samples = _items(loaded) if objective.needs_items else _windows(loaded)
    with global_randomness_untouched():
        score, again = (_score(loaded, objective, samples, 0, 4) for _ in range(2))
    for name, values_B in vars(score).items():
        assert values_B.shape == (4,), f"its {name} are not one for each sample"
        assert values_B.dtype == torch.float64, f"its {name} are not float64"
        assert values_B.isfinite().all(), f"its {name} are not finite on a model that is whole"
        assert values_B.equal(vars(again)[name]), f"its {name} differ from one call to the next"
    assert (score.counts_B > 0).all(), "it counts no term of some sample"
    alone = [_score(loaded, objective, samples, first, 1) for first in range(4)]
    for name, values_B in vars(score).items():
        one_by_one_B = torch.cat([vars(each)[name] for each in alone])
        assert values_B.allclose(one_by_one_B, rtol=1e-4, atol=1e-4), f"its {name} depend on the other samples"


def _check_identity(identity: Any) -> None:
    try:
        json.dumps(identity)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"its identity cannot be written down: {error}") from error


def check_scorer(scorer: Scorer, loaded: LoadedModel | None = None) -> None:
    """Lets a scorer score a model, and the same model without two of its blocks.

    Args:
        scorer: The scorer.
        loaded: The model, by default an embedded one.

    Raises:
        AssertionError: It breaks a promise.
    """
    from deprune.core.memory import Memory
    from deprune.model.pruned import PrunedModel

    loaded, memory = loaded or _embedded_model(), Memory()
    models = [PrunedModel(loaded, subset) for subset in (BlockSubset(loaded.stack.n_blocks), _two_blocks(loaded))]
    identity, before = scorer.identity("mine"), _weights(loaded)
    _check_identity(identity)
    assert scorer.subjects(), "it has no subjects"
    scorer.check(memory)
    scorer.size(loaded.config, loaded.facts.context, memory)
    for subject in scorer.subjects():
        digest_of(scorer.definition(subject, loaded, memory))
        found = scorer.score(subject, models, memory)
        assert len(found) == len(models), "it does not return the rows of each model"
        assert [r.metric for r in found[0]] == [r.metric for r in found[1]], "its rows differ between models"
        assert found[0], f"it returns no row for {subject}"
        for row in itertools.chain(*found):
            _check_row(row, subject)
        if scorer.is_kept:
            alone = [list(scorer.score(subject, [pruned], memory)[0]) for pruned in models]
            assert alone == [list(rows) for rows in found], "its rows depend on what else is scored, or on chance"
    assert _weights(loaded) == before, "it changes the dense model"


def _check_row(row: Row, subject: str) -> None:
    assert row.task == subject, f"it returns a row of {row.task} when it is asked for {subject}"
    assert math.isfinite(row.value), f"its {row.metric} is not finite"
    assert row.stderr is None or row.stderr >= 0, f"the standard error of its {row.metric} is negative"
    assert row.unit, f"its {row.metric} has no unit"
    assert row.n_items == len(row.items), f"its {row.metric} does not give the value of every item"
    assert bool(row.item_set) == bool(row.items), f"its {row.metric} does not name its items"


def check_treatment(treatment: Treatment, loaded: LoadedModel | None = None) -> None:
    """Treats a model without two of its blocks.

    Args:
        treatment: The treatment.
        loaded: The model, by default an embedded one.

    Raises:
        AssertionError: It breaks a promise.
    """
    from deprune.model.pruned import PrunedModel

    loaded = loaded or _embedded_model()
    identity, before = treatment.identity(), _weights(loaded)
    _check_identity(identity)
    pruned, samples = PrunedModel(loaded, _two_blocks(loaded)), _windows(loaded)
    with global_randomness_untouched():
        once, again = (treatment.treated(pruned, samples, np.random.default_rng(1)) for _ in range(2))
    assert _weights(loaded) == before, "it changes the dense model"
    assert once.subset == pruned.subset, "it changes which blocks are removed"
    assert once.treatment == identity, "the treated model has another identity than the treatment"
    assert _weights(once.loaded) == _weights(again.loaded), "the same seed does not give the same weights"
    assert once.loaded.stack.run(samples.ids_RT[:1], once.subset).isfinite().all(), "the treated model is broken"


def _weights(loaded: LoadedModel) -> str:
    return digest_of_bytes(p.detach().float().cpu().numpy().tobytes() for p in loaded.stack.model.parameters())


def _two_blocks(loaded: LoadedModel) -> BlockSubset:
    n_blocks = loaded.stack.n_blocks
    return BlockSubset.of(n_blocks, [n_blocks // 2, n_blocks - 2])


def _embedded_model() -> LoadedModel:
    from deprune.model.load import load_model
    from deprune.model.source import ModelConfig

    return load_model(ModelConfig(path="deprune:tiny_llama"), "cpu", "float32")


def _windows(loaded: LoadedModel) -> CalibrationSet:
    from deprune.data.corpora import EmbeddedCorpus
    from deprune.data.corpus import CalibConfig
    from deprune.data.draw import draw_windows

    calib = CalibConfig(name="check", corpus=EmbeddedCorpus(corpus="mixture"), n_samples=4, seq_len=128, seed=0)
    return draw_windows(calib, 128, loaded.tokenizer, "check")


def _items(loaded: LoadedModel) -> CalibrationSet:
    from deprune.data.corpus import CalibConfig
    from deprune.data.draw import draw_items
    from deprune.data.items import EmbeddedItems
    from deprune.embedded.task_items import WRITERS
    from deprune.objective.shared_context import calibration_set

    corpus = EmbeddedItems(tasks=tuple(WRITERS))
    calib = CalibConfig(name="check", corpus=corpus, n_samples=4, seq_len=128, seed=0)
    return calibration_set(draw_items(calib, 128, loaded.tokenizer, "check"), loaded.stack)


def _score(loaded: LoadedModel, objective: Objective, samples: CalibrationSet, first: int, size: int) -> Score:
    import torch

    stack = loaded.stack
    batch = samples.batch(first, size, stack.model.device)
    inputs = stack.embed(batch.ids_RT, **batch.model_inputs(stack.model.dtype))

    def last_state(subset: BlockSubset) -> Tensor:
        hidden_RTD = inputs.hidden_BTD
        for block in subset.kept:
            hidden_RTD = stack.run_block(block, hidden_RTD, inputs)
        return hidden_RTD

    dense_RTD = last_state(BlockSubset(stack.n_blocks)) if objective.needs_dense else None
    with torch.inference_mode():
        return objective.score(stack, last_state(_two_blocks(loaded)), batch, dense_RTD)
