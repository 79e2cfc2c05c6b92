"""Statistics of hidden states against states hooked from the model's own forward pass."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional

from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.model.load import LoadedModel
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.angular import AngularDistances
from deprune.search.base import HiddenStates, Statistic
from deprune.search.fast_block_select import MutualInformation, information, leading_scores
from deprune.search.shortgpt import BlockInfluence
from tests.conftest import FAMILIES
from tests.objective.test_objectives import drawn


def hooked_states(stack: BlockStack, ids_BT: torch.Tensor) -> torch.Tensor:
    """What enters each block, and what leaves the last, `(N + 1, B, T, D)`."""
    states: list[torch.Tensor] = []
    hooks = [
        b.register_forward_pre_hook(lambda _, args: states.append(args[0]), with_kwargs=False) for b in stack.blocks
    ]
    last = stack.blocks[-1].register_forward_hook(
        lambda *call: states.append(call[2][0] if isinstance(call[2], tuple) else call[2])
    )
    with torch.inference_mode():
        stack.model(ids_BT)
    for hook in [*hooks, last]:
        hook.remove()
    return torch.stack(states).double()


@pytest.fixture(params=FAMILIES)
def measured(
    request: pytest.FixtureRequest, embedded: Callable[[str], LoadedModel]
) -> tuple[LoadedModel, CalibrationSet, torch.Tensor]:
    loaded = embedded(request.param)
    calib = CalibConfig(name="facts", corpus=EmbeddedCorpus(corpus="facts"), n_samples=5, seq_len=32, seed=0)
    calibration = draw_windows(calib, 32, loaded.tokenizer, request.param)
    return loaded, calibration, hooked_states(loaded.stack, calibration.ids_RT)


def evaluator(loaded: LoadedModel, calibration: CalibrationSet, store: EvaluationStore) -> SubsetEvaluator:
    config = EvaluatorConfig(batch_size=2)  # the last batch is short
    return SubsetEvaluator(loaded.stacks, calibration, NegativeLogLikelihood(), config, store)


def test_block_influence_is_shortgpts(measured: tuple[LoadedModel, CalibrationSet, torch.Tensor]) -> None:
    loaded, calibration, states = measured
    expected = [1 - functional.cosine_similarity(a, b, dim=-1).mean().item() for a, b in itertools.pairwise(states)]
    assert evaluator(loaded, calibration, EvaluationStore(None)).statistic(BlockInfluence()) == pytest.approx(
        expected, abs=1e-6
    )


def test_angular_distances_are_gromovs(measured: tuple[LoadedModel, CalibrationSet, torch.Tensor]) -> None:
    loaded, calibration, states = measured
    found = evaluator(loaded, calibration, EvaluationStore(None)).statistic(AngularDistances())
    for i, j in ((0, 0), (0, 1), (2, 7), (5, 12), (12, 3)):
        cosine = functional.cosine_similarity(states[i, :, -1], states[j, :, -1], dim=-1).clamp(-1, 1)
        assert found[i, j] == pytest.approx((torch.arccos(cosine) / torch.pi).mean().item(), abs=1e-4)


def test_mutual_information_is_that_of_canonical_correlations() -> None:
    """Two correlated Gaussian vectors, whose information is known."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(20_000, 3))
    a = np.hstack([shared, rng.normal(size=(20_000, 2))])
    rho = 0.8
    b = np.hstack([rho * shared + np.sqrt(1 - rho**2) * rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 2))])
    scores = [leading_scores(torch.from_numpy(x)) for x in (a @ rng.normal(size=(5, 5)), b)]
    assert information(*scores) == pytest.approx(-1.5 * np.log(1 - rho**2), rel=0.02)


def test_information_is_highest_where_a_block_changes_least(
    measured: tuple[LoadedModel, CalibrationSet, torch.Tensor],
) -> None:
    loaded, calibration, _ = measured
    source = evaluator(loaded, calibration, EvaluationStore(None))
    information, influence = source.statistic(MutualInformation()), source.statistic(BlockInfluence())
    assert (information > 0).all()
    assert np.corrcoef(information, influence)[0, 1] < 0


def test_statistics_are_remembered(embedded: Callable[[str], LoadedModel], tmp_path: Path) -> None:
    loaded = embedded("tiny_llama")
    calib = CalibConfig(name="facts", corpus=EmbeddedCorpus(corpus="facts"), n_samples=5, seq_len=32, seed=0)
    calibration = draw_windows(calib, 32, loaded.tokenizer, "a")
    statistics = BlockInfluence(), AngularDistances(), MutualInformation()
    first = evaluator(loaded, calibration, EvaluationStore(tmp_path))
    values = [first.statistic(each) for each in statistics]
    assert first.counter.block_calls == 3 * 5 * 12
    again = evaluator(loaded, calibration, EvaluationStore(tmp_path))
    for each, value in zip(statistics, values, strict=True):
        assert np.array_equal(again.statistic(each), value)
    assert again.counter.block_calls == 0
    names = re.findall(r'"statistic":"(\S+) ', "".join(path.read_text() for path in tmp_path.glob("*.jsonl")))
    assert names == ["block_influence", "angular_distances", "mutual_information"], "old stores have these names"


@dataclass(frozen=True, kw_only=True)
class Norms(Statistic):
    """A statistic that nobody else has: mean norms of the hidden states."""

    name: ClassVar[str] = "norms"

    order: int = 2

    def measure(self, batches: Sequence[HiddenStates]) -> np.ndarray:
        return np.mean([[h.norm(p=self.order, dim=-1).mean().item() for h in batch] for batch in batches], axis=0)


def test_a_statistic_of_ones_own_is_measured_and_remembered_by_its_settings(
    embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    loaded = embedded("tiny_llama")
    calib = CalibConfig(name="facts", corpus=EmbeddedCorpus(corpus="facts"), n_samples=4, seq_len=32, seed=0)
    calibration = draw_windows(calib, 32, loaded.tokenizer, "a")
    source = evaluator(loaded, calibration, EvaluationStore(tmp_path))
    expected = hooked_states(loaded.stack, calibration.ids_RT).norm(dim=-1).mean(dim=(1, 2))
    assert source.statistic(Norms()) == pytest.approx(expected.tolist(), rel=1e-5)
    again = evaluator(loaded, calibration, EvaluationStore(tmp_path))
    assert np.array_equal(again.statistic(Norms()), source.statistic(Norms()))
    assert again.counter.block_calls == 0
    assert (again.statistic(Norms(order=1)) > again.statistic(Norms())).all()
    assert again.counter.block_calls == 4 * 12


def test_filling_of_items_does_not_count(embedded: Callable[[str], LoadedModel]) -> None:
    loaded = embedded("tiny_llama")
    one, several = drawn(loaded, n=1), drawn(loaded, n=8)
    short = one.laid_out(shared=True)
    assert short.ids_RT.shape == several.laid_out(shared=True).ids_RT[:1].shape
    real = int(short.batch(0, 1).real_tokens().sum())
    assert real == one.tokens[0].n_tokens < short.ids_RT.numel()
    states = hooked_states(loaded.stack, torch.tensor([one.tokens[0].shared]))
    found = evaluator(loaded, short, EvaluationStore(None)).statistic(AngularDistances())
    cosine = functional.cosine_similarity(states[2, 0, -1], states[9, 0, -1], dim=-1)
    assert found[2, 9] == pytest.approx(float(torch.arccos(cosine)) / np.pi, abs=1e-5)
