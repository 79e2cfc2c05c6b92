"""The evaluator gives the losses of physically pruned models, by sample, and each once."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from deprune.calib.base import CalibrationSet
from deprune.evaluator import Evaluation, EvaluatorConfig, SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.model.prune import prune_blocks
from deprune.objective import nll
from deprune.objective.nll import NegativeLogLikelihood
from deprune.subset import BlockSubset
from tests.model.architectures import N_BLOCKS, VOCAB, make_model

IDS = torch.randint(1, VOCAB, (5, 12), generator=torch.Generator().manual_seed(3))
SUBSETS = [BlockSubset.of(N_BLOCKS, r) for r in ([], [0], [1, 2], [0, 3], [0, 1, 2])]


def make_evaluator(name: str = "llama", batch_tokens: int = 8192) -> SubsetEvaluator:
    calibration = CalibrationSet(IDS, "sample", "tokens")
    return SubsetEvaluator(
        BlockStack(make_model(name)), calibration, NegativeLogLikelihood(), EvaluatorConfig(batch_tokens=batch_tokens)
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_losses_are_those_of_pruned_models(name: str) -> None:
    evaluations = make_evaluator(name).evaluate(SUBSETS)
    for evaluation in evaluations:
        model = copy.deepcopy(make_model(name))
        prune_blocks(model, evaluation.subset)
        with torch.inference_mode():
            logits = model(IDS, use_cache=False).logits[:, :-1]
        log_likelihoods = functional.log_softmax(logits, dim=-1).gather(2, IDS[:, 1:, None])[..., 0]
        assert evaluation.sums == pytest.approx((-log_likelihoods.sum(dim=1)).tolist(), abs=1e-4)
        assert evaluation.counts == (11.0,) * 5
        assert evaluation.loss == pytest.approx(-log_likelihoods.mean().item(), abs=1e-5)


def test_batch_size_changes_rounding_only() -> None:
    whole, single = (make_evaluator(batch_tokens=t).evaluate(SUBSETS) for t in (8192, 1))
    for a, b in zip(whole, single, strict=True):
        assert a.sums == pytest.approx(b.sums, abs=1e-4)


def test_chunked_logits_change_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_evaluator().evaluate(SUBSETS)
    monkeypatch.setattr(nll, "MAX_LOGITS", 5 * VOCAB * 3)  # three positions at a time
    for a, b in zip(whole, make_evaluator().evaluate(SUBSETS), strict=True):
        assert a.sums == pytest.approx(b.sums, abs=1e-4)


def test_each_loss_is_computed_once_and_counted() -> None:
    evaluator = make_evaluator()
    first = evaluator.evaluate([SUBSETS[1], SUBSETS[2], SUBSETS[1]])
    again = evaluator.evaluate([SUBSETS[2], SUBSETS[3]])
    assert first[0] == first[2]
    assert again[0] == first[1]
    assert (evaluator.counter.requested, evaluator.counter.computed) == (5, 3)
    assert evaluator.counter.block_calls == 5 * (3 + 2 + 2)  # samples × kept blocks


def test_standard_error_is_that_of_a_mean_for_equal_counts() -> None:
    sums = (1.0, 3.0, 2.0, 6.0)
    evaluation = Evaluation(SUBSETS[0], sums, (2.0,) * 4)
    means = torch.tensor(sums) / 2
    assert evaluation.stderr == pytest.approx(float(means.std() / 2))
    assert Evaluation(SUBSETS[0], (1.0,), (2.0,)).stderr is None


def test_a_loss_that_is_no_number_is_infinite() -> None:
    assert math.isinf(Evaluation(SUBSETS[0], (math.nan, 1.0), (1.0, 1.0)).loss)
