"""Objectives against direct computations and lm-eval's own log-likelihoods."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from omegaconf import OmegaConf
from torch.nn import functional

from deprune.core.build import CONF_DIR, build_target
from deprune.core.subset import BlockSubset
from deprune.data.corpus import CalibConfig, Item, ItemTokens
from deprune.data.draw import DrawnItems, draw_items
from deprune.data.items import EmbeddedItems, TaskItems
from deprune.data.layout import tokenize_item
from deprune.data.samples import CalibrationSet
from deprune.embedded.task_items import WRITERS
from deprune.evaluator.base import Evaluation, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockStack
from deprune.model.load import LoadedModel
from deprune.model.prune import blocks_removed, prune_blocks
from deprune.objective.base import Objective
from deprune.objective.kl import KullbackLeibler
from deprune.objective.shared_context import calibration_set
from deprune.objective.task_error import TaskError
from deprune.objective.task_margin import TaskMargin
from deprune.record.evaluations import EvaluationStore
from deprune.testing import check_objective
from tests.conftest import FAMILIES
from tests.model.architectures import ARCHITECTURES, N_BLOCKS, VOCAB, make_model

IDS = torch.randint(1, VOCAB, (5, 12), generator=torch.Generator().manual_seed(3))
DENSE = BlockSubset(N_BLOCKS)
OBJECTIVES = sorted(path.stem for path in (CONF_DIR / "objective").glob("*.yaml"))


def evaluate(
    stack: BlockStack, calibration: CalibrationSet, objective: Objective, subsets: list[BlockSubset], size: int = 4
) -> list[Evaluation]:
    config = EvaluatorConfig(batch_size=size)
    return SubsetEvaluator([stack], calibration, objective, config, EvaluationStore(None)).evaluate(subsets)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_kl_is_the_divergence_from_the_dense_model_and_zero_for_itself(name: str) -> None:
    subset = BlockSubset.of(N_BLOCKS, [1, 2])
    calibration = CalibrationSet(IDS, "sample", "tokens")
    dense, pruned = evaluate(BlockStack(make_model(name)), calibration, KullbackLeibler(), [DENSE, subset])
    assert dense.loss == 0
    other = copy.deepcopy(make_model(name))
    prune_blocks(other, subset)
    with torch.inference_mode():
        p, q = (functional.log_softmax(m(IDS).logits.double(), dim=-1) for m in (make_model(name), other))
    expected = functional.kl_div(q, p, reduction="none", log_target=True).sum(dim=(1, 2))
    assert pruned.sums == pytest.approx(expected.tolist(), abs=1e-4)
    assert pruned.counts == (12.0,) * 5


def drawn(loaded: LoadedModel, tasks: tuple[str, ...] = tuple(WRITERS), n: int = 24) -> DrawnItems:
    calib = CalibConfig(name="items", corpus=EmbeddedItems(tasks=tasks), n_samples=n, seq_len=256, seed=0)
    return draw_items(calib, 256, loaded.tokenizer, "a")


def margins_of_lm_eval(loaded: LoadedModel, items: list[Item]) -> list[float]:
    """Minus the margins, from lm-eval's own summed log-likelihoods of the choices' tokens."""
    harness = HFLM(pretrained=loaded.stack.model, tokenizer=loaded.tokenizer, batch_size=1)
    losses = []
    for item in items:
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in item.choices]
        sums = [value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)]
        counts = [len(harness._encode_pair(*pair)[1]) for pair in item.choices]
        means = np.array(sums) / counts
        losses.append(float(np.delete(means, item.answer).mean() - means[item.answer]))
    return losses


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_task_margin_is_that_of_lm_evals_log_likelihoods(
    family: str, shared: bool, embedded: Callable[[str], LoadedModel]
) -> None:
    loaded = embedded(family)
    found = drawn(loaded)
    subset = BlockSubset.of(12, [5, 9])
    (margin,) = evaluate(loaded.stack, found.laid_out(shared), TaskMargin(), [subset])
    with blocks_removed(loaded.stack.model, subset):
        expected = margins_of_lm_eval(loaded, list(found.items))
    assert margin.sums == pytest.approx(expected, abs=1e-4)
    (error,) = evaluate(loaded.stack, found.laid_out(shared), TaskError(), [subset])
    assert set(error.sums) <= {0.0, 1.0}
    # The right choice is the likeliest exactly where no wrong one is, which two choices show by the margin's sign.
    signs = [float(loss > 0) for item, loss in zip(found.items, expected, strict=True) if len(item.choices) == 2]
    assert signs == [s for item, s in zip(found.items, error.sums, strict=True) if len(item.choices) == 2]
    assert len(signs) > 5


def test_contexts_that_differ_between_choices_are_scored_as_lm_eval_does(
    embedded: Callable[[str], LoadedModel],
) -> None:
    """WinoGrande's form: the choice is in the context, and what is scored is the same."""
    loaded = embedded("tiny_llama")
    items = [Item((("Ann gave", " the ball to Bob."), ("Then Ann sold", " the ball to Bob.")), 1)]
    tokens = [t for item in items if (t := tokenize_item(item, loaded.tokenizer))]
    for shared in (True, False):
        calibration = DrawnItems(items, tokens, tokens, "draw").laid_out(shared)
        (margin,) = evaluate(loaded.stack, calibration, TaskMargin(), [BlockSubset(12)])
        assert margin.sums == pytest.approx(margins_of_lm_eval(loaded, items), abs=1e-4)


def test_embedded_models_share_contexts_and_few_items_are_read_off_many(
    embedded: Callable[[str], LoadedModel],
) -> None:
    loaded = embedded("tiny_neox")
    few, many = (calibration_set(drawn(loaded, n=n), loaded.stack) for n in (6, 20))
    assert few.rows_per_sample == 1
    subset = BlockSubset.of(12, [3])
    assert few.sample_keys() == many.sample_keys()[:6]
    a, b = (evaluate(loaded.stack, c, TaskMargin(), [subset])[0] for c in (few, many))
    assert a.sums == b.sums[:6]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_layout_of_items_changes_no_architectures_losses(name: str) -> None:
    """Shared where the model allows it, else row by row: the likelihoods are those of each choice alone."""
    stack = BlockStack(make_model(name))
    rng = np.random.default_rng(4)
    tokens = []
    for _ in range(5):
        context = tuple(rng.integers(1, VOCAB, 6).tolist())
        rests = tuple(tuple(rng.integers(1, VOCAB, n).tolist()) for n in (2, 3, 1))
        tokens.append(_tokens(context, rests))
    chosen = calibration_set(DrawnItems([], tokens, tokens, "draw"), stack)
    (margin,) = evaluate(stack, chosen, TaskMargin(), [BlockSubset.of(N_BLOCKS, [1])])
    model = copy.deepcopy(make_model(name))
    prune_blocks(model, BlockSubset.of(N_BLOCKS, [1]))
    for loss, item in zip(margin.sums, tokens, strict=True):
        means = []
        for rest in item.rests:
            ids = torch.tensor([[*item.shared, *rest]])
            with torch.inference_mode():
                logs = functional.log_softmax(model(ids, use_cache=False).logits[0, :-1].float(), dim=-1)
            means.append(logs.gather(1, ids[0, 1:, None])[-len(rest) :].mean().item())
        assert loss == pytest.approx(np.mean(means[1:]) - means[0], abs=2e-4)


def _tokens(context: tuple[int, ...], rests: tuple[tuple[int, ...], ...]) -> ItemTokens:
    return ItemTokens(context, rests, tuple(map(len, rests)), 0)


def test_most_architectures_share_contexts() -> None:
    shared = []
    for name in ARCHITECTURES:
        tokens = [_tokens((1, 2, 3, 4), ((5, 6), (7,), (8, 9, 10)))]
        chosen = calibration_set(DrawnItems([], tokens, tokens, "draw"), BlockStack(make_model(name)))
        shared += [name] * (chosen.rows_per_sample == 1)
    assert {"llama", "gpt2", "gpt_neox", "qwen3", "mixtral"} <= set(shared)
    assert not {"mamba", "bloom"} & set(shared)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract(name: str) -> None:
    node = OmegaConf.load(CONF_DIR / "objective" / f"{name}.yaml")
    check_objective(build_target(node, Objective, "objective"))


def test_items_of_a_task_are_those_that_lm_eval_scores() -> None:
    items = TaskItems(task="mini_reference").items()
    assert len(items) == 300
    assert all(len(item.choices) == 2 and choice.startswith(" ") for item in items for _, choice in item.choices)
