"""Contract tests of the plug-in points, for plug-ins in your own package as well as for the project's.

    from deprune.testing import check_search

    def test_mine() -> None:
        check_search(Mine(draws=5))

Each takes a plug-in, and a model where one is needed (by default an embedded one), and raises an AssertionError
that says in a sentence which promise the plug-in breaks.
"""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from deprune.core.build import build
from deprune.core.fingerprint import digest_of, digest_of_bytes
from deprune.core.memory import Memory
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_items, draw_windows
from deprune.data.items import EmbeddedItems
from deprune.data.samples import CalibrationSet
from deprune.downstream.base import Scorer
from deprune.embedded.task_items import WRITERS
from deprune.evaluator.trie import walk
from deprune.model.load import LoadedModel, load_model
from deprune.model.pruned import PrunedModel
from deprune.model.source import ModelConfig
from deprune.objective.base import Objective
from deprune.objective.shared_context import calibration_set
from deprune.search.base import BlockSubset, Floats, Guarantee, Kind, Problem, Search, SearchSpace, Statistic
from deprune.search.oneshot import OneShot
from deprune.treat.base import Treatment

Loss = Callable[[BlockSubset], float]


def quadratic_loss(n_blocks: int, seed: int, interaction: float = 1.0, vital: int | None = None) -> Loss:
    """Returns a random loss with a term for every removed block and every pair; infinite without a vital block."""
    rng = np.random.default_rng(seed)
    singles, pairs = rng.random(n_blocks), interaction * np.triu(rng.normal(size=(n_blocks, n_blocks)), 1)
    terms = np.diag(singles) + pairs
    return lambda s: math.inf if vital in s.removed else float(terms[np.ix_(s.removed, s.removed)].sum())


class ToyStates(list[Tensor]):
    """Hidden states of two rows of 16 tokens."""

    def real_tokens(self) -> Tensor:
        """Returns that all tokens are."""
        return torch.ones(2, 16, dtype=torch.bool)

    def last_tokens(self) -> Tensor:
        """Returns the last of each row."""
        return torch.tensor([15, 31])


@dataclass
class ToyLosses:
    """A `LossSource` that notes what it was asked, and whose race, if it errs, drops all but the worst subset.

    The first n of the samples give the loss plus noise that shrinks to nothing at all of them.
    """

    loss: Loss
    n_blocks: int
    n_samples: int = 8
    errs: bool = False
    requests: list[tuple[BlockSubset, int]] = field(default_factory=list)

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns the losses."""
        n = n_samples or self.n_samples
        self.requests += [(s, n) for s in subsets]
        return [self.loss(s) + (self.n_samples - n) * 1e-3 * (hash(s.removed) % 7) for s in subsets]

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns all, or the worst."""
        return [max(subsets, key=self.loss)] if self.errs else list(subsets)

    def statistic(self, statistic: Statistic) -> Floats:
        """Returns the statistic of states that wander."""
        steps = [np.random.default_rng(seed).normal(size=(self.n_blocks + 1, 2, 16, 4)) for seed in (1, 2)]
        return statistic.measure([ToyStates(torch.from_numpy(each.cumsum(axis=0))) for each in steps])


@contextmanager
def global_randomness_untouched() -> Iterator[None]:
    """Raises an AssertionError if what runs inside draws from a generator that the whole process shares."""

    def state() -> tuple[object, ...]:
        numpys = np.random.get_state(legacy=False)["state"]
        return random.getstate(), numpys["key"].tolist(), numpys["pos"], torch.get_rng_state().tolist()

    before = state()
    yield
    assert state() == before, "it draws from a generator that the whole process shares"


def check_search(search: Search) -> None:
    """Tries a search on invented losses of few blocks: what every search promises, and what this one says it does."""
    assert isinstance(search.kind, Kind), "its kind is none of deprune.core.kinds.Kind"
    settings = OmegaConf.create(asdict(search))
    assert build(settings, type(search), "search") == search, "its settings do not survive a configuration"
    sizes = (1, ()), (3, ()), (3, (0, 8)), (8, ()), (7, (0, 8)), (2, (0, 1, 8)), (1, (0, 8)), (4, ())
    for seed, (budget, protected) in enumerate(sizes):
        space = SearchSpace(9, budget, frozenset(protected))
        _check_run(search, ToyLosses(quadratic_loss(9, seed), 9), space, seed)
        _check_run(search, ToyLosses(quadratic_loss(9, seed), 9, errs=True), space, seed)
        _check_run(search, ToyLosses(quadratic_loss(9, seed, interaction=0), 9), space, seed, "sums")
        _check_run(search, ToyLosses(quadratic_loss(9, seed, vital=2), 9), space, seed)
        _check_run(search, ToyLosses(lambda s: math.inf, 9), space, seed, "ties")
        _check_run(search, ToyLosses(lambda s: 1.0, 9), space, seed, "ties")

    def asked(seed: int) -> str:
        source = ToyLosses(quadratic_loss(9, seed=3), 9)
        problem = Problem(SearchSpace(9, 3), source)
        return repr((search.run(problem, np.random.default_rng(seed)), source.requests, problem.trace))

    with global_randomness_untouched():
        assert asked(5) == asked(5), "the same seed does not give the same search"
    differs = len({asked(seed) for seed in range(5)}) > 1
    assert search.uses_seed == differs, f"it says uses_seed={search.uses_seed}, which is not so"


def _check_run(search: Search, source: ToyLosses, space: SearchSpace, seed: int, costs: str = "") -> None:
    found = search.run(Problem(space, source), np.random.default_rng(seed))
    assert found.subset in space, f"it removes {found.subset.removed}, which is not in {space}"
    assert sorted(found.order) == list(found.subset.removed), "its order is not one of the removed blocks"
    for asked, n_samples in source.requests:
        assert asked.n_blocks == space.n_blocks, f"it asks for {asked}, of another number of blocks"
        assert not space.protected.intersection(asked.removed), f"it asks for {asked}, which removes protected blocks"
        assert len(asked.removed) <= space.budget, f"it asks for {asked}, which is larger than the budget"
        assert 1 <= n_samples <= source.n_samples, f"it asks for {n_samples} of {source.n_samples} samples"
    loss, promised = source.loss(found.subset), search.promised()
    if not source.errs:
        evaluated = (source.loss(s) for s, n in source.requests if n == source.n_samples and s in space)
        assert loss == min(evaluated, default=loss), "it evaluated a better subset than the one that it returns"
        is_best = loss == min(map(source.loss, space.subsets()))
        assert is_best or Guarantee.EXACT not in promised, "it does not find the best subset"
        if Guarantee.EXACT_FOR_ONE_BLOCK in promised:
            assert is_best or space.budget > 1, "it does not find the best block"
            assert is_best or costs != "sums", "it does not find the blocks that cost least where costs add up"
    if Guarantee.NEVER_WORSE_THAN_ONESHOT in promised:
        oneshot = OneShot().run(Problem(space, ToyLosses(source.loss, space.n_blocks)), np.random.default_rng())
        assert loss <= source.loss(oneshot.subset), "it is worse than one-shot"
    if costs == "ties" and Guarantee.TIES_TO_LOWER_BLOCKS in promised:
        assert found.order == space.removable[: space.budget], f"of equal subsets it takes {found.order}"


def check_objective(objective: Objective, loaded: LoadedModel | None = None) -> None:
    """Tries an objective on a model without two of its blocks, on windows or items of the embedded corpora."""
    assert objective.unit, "it has no unit"
    assert objective.version >= 1, "its version is not a number from 1 on"
    _check_identity(objective.identity())
    pruned = _pruned(loaded)
    samples, stack = _samples(pruned.loaded, items=objective.needs_items), pruned.loaded.stack

    def score(first: int, size: int) -> dict[str, Tensor]:
        batch = samples.batch(first, size, stack.model.device)
        inputs = stack.embed(batch.ids_RT, **batch.model_inputs(stack.model.dtype))
        subsets = [BlockSubset(stack.n_blocks), pruned.subset]
        states = dict(walk(inputs.hidden_BTD, subsets, lambda block, state: stack.run_block(block, state, inputs)))
        dense_RTD = states[subsets[0]] if objective.needs_dense else None
        with torch.inference_mode():
            return vars(objective.score(stack, states[pruned.subset], batch, dense_RTD))

    with global_randomness_untouched():
        whole, again = score(0, 4), score(0, 4)
    alone = [score(first, 1) for first in range(4)]
    for name, values_B in whole.items():
        assert values_B.shape == (4,), f"its {name} are not one for each sample"
        assert values_B.dtype == torch.float64, f"its {name} are not float64"
        assert values_B.isfinite().all(), f"its {name} are not finite on a model that is whole"
        assert values_B.equal(again[name]), f"its {name} differ from one call to the next"
        one_by_one_B = torch.cat([each[name] for each in alone])
        assert values_B.allclose(one_by_one_B, rtol=1e-4, atol=1e-4), f"its {name} depend on the other samples"
    assert (whole["counts_B"] > 0).all(), "it counts no term of some sample"


def check_scorer(scorer: Scorer, loaded: LoadedModel | None = None) -> None:
    """Lets a scorer score a model, and the same model without two of its blocks."""
    pruned, memory = _pruned(loaded), Memory()
    loaded, before = pruned.loaded, _weights(pruned.loaded)
    models = [PrunedModel(loaded, BlockSubset(loaded.stack.n_blocks)), pruned]
    _check_identity(scorer.identity("mine"))
    assert scorer.subjects(), "it has no subjects"
    scorer.check(memory)
    scorer.size(loaded.config, loaded.facts.context, memory)
    for subject in scorer.subjects():
        digest_of(scorer.definition(subject, loaded, memory))
        found = scorer.score(subject, models, memory)
        assert len(found) == len(models), "it does not return the rows of each model"
        assert [r.metric for r in found[0]] == [r.metric for r in found[1]], "its rows differ between models"
        assert found[0], f"it returns no row for {subject}"
        for row in (*found[0], *found[1]):
            assert row.task == subject, f"it returns a row of {row.task} when it is asked for {subject}"
            assert math.isfinite(row.value), f"its {row.metric} is not finite"
            assert row.stderr is None or row.stderr >= 0, f"the standard error of its {row.metric} is negative"
            assert row.unit, f"its {row.metric} has no unit"
            assert row.n_items == len(row.items), f"its {row.metric} does not give the value of every item"
            assert bool(row.item_set) == bool(row.items), f"its {row.metric} does not name its items"
        if scorer.is_kept:
            alone = [list(scorer.score(subject, [model], memory)[0]) for model in models]
            assert alone == [list(rows) for rows in found], "its rows depend on what else is scored, or on chance"
    assert _weights(loaded) == before, "it changes the dense model"


def check_treatment(treatment: Treatment, loaded: LoadedModel | None = None) -> None:
    """Treats a model without two of its blocks."""
    pruned, identity = _pruned(loaded), treatment.identity()
    samples, before = _samples(pruned.loaded, items=False), _weights(pruned.loaded)
    _check_identity(identity)
    with global_randomness_untouched():
        once, again = (treatment.treated(pruned, samples, np.random.default_rng(1)) for _ in range(2))
    assert _weights(pruned.loaded) == before, "it changes the dense model"
    assert once.subset == pruned.subset, "it changes which blocks are removed"
    assert once.treatment == identity, "the treated model has another identity than the treatment"
    assert _weights(once.loaded) == _weights(again.loaded), "the same seed does not give the same weights"
    assert once.loaded.stack.run(samples.ids_RT[:1], once.subset).isfinite().all(), "the treated model is broken"


def _check_identity(identity: Any) -> None:
    try:
        json.dumps(identity)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"its identity cannot be written down: {error}") from error


def _weights(loaded: LoadedModel) -> str:
    return digest_of_bytes(p.detach().float().cpu().numpy().tobytes() for p in loaded.stack.model.parameters())


def _pruned(loaded: LoadedModel | None) -> PrunedModel:
    loaded = loaded or load_model(ModelConfig(path="deprune:tiny_llama"), "cpu", "float32")
    n_blocks = loaded.stack.n_blocks
    return PrunedModel(loaded, BlockSubset.of(n_blocks, [n_blocks // 2, n_blocks - 2]))


def _samples(loaded: LoadedModel, *, items: bool) -> CalibrationSet:
    corpus = EmbeddedItems(tasks=tuple(WRITERS)) if items else EmbeddedCorpus(corpus="mixture")
    calib = CalibConfig(name="check", corpus=corpus, n_samples=4, seq_len=128, seed=0)
    if items:
        return calibration_set(draw_items(calib, 128, loaded.tokenizer, "check"), loaded.stack)
    return draw_windows(calib, 128, loaded.tokenizer, "check")
