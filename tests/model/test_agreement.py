"""What differs beyond a window, with a cache, or in generating is seen; rounding is not."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoConfig, PreTrainedModel

from deprune.core.subset import BlockSubset
from deprune.model.agreement import FEWEST_TOKENS, Agreement, enough_tokens
from deprune.model.blocks import BlockStack
from deprune.model.checkpoint import fault_of
from deprune.model.structure import find_blocks
from tests.model.architectures import ARCHITECTURES, N_BLOCKS, VOCAB, make_model

DENSE = BlockSubset(N_BLOCKS)


@pytest.mark.parametrize(
    ("settings", "context", "length"),
    [
        ({}, 64, 64),
        ({"sliding_window": 100}, 256, 116),
        ({"sliding_window": 100}, 80, 80),
        ({"sliding_window": 4, "attention_chunk_size": 200}, None, 216),
        ({"parts": {"local_window": 150}}, 1000, 166),
        ({"sliding_window": 10**6}, 10**6, FEWEST_TOKENS),
    ],
)
def test_more_tokens_than_the_largest_window(settings: dict[str, Any], context: int | None, length: int) -> None:
    config = AutoConfig.for_model("llama", **ARCHITECTURES["llama"], **settings)
    ids = enough_tokens(config, context, VOCAB)
    assert ids.shape[1] == length
    assert ids.max() < VOCAB


@pytest.fixture
def model() -> PreTrainedModel:
    return make_model("gemma3_text")


def agreement_with(model: PreTrainedModel, window: int) -> Agreement:
    model.config.sliding_window = window
    for block in find_blocks(model):
        if block.self_attn.sliding_window is not None:
            block.self_attn.sliding_window = window
    return Agreement(BlockStack(model), DENSE, enough_tokens(model.config, 64, VOCAB))


def test_the_same_model_agrees(model: PreTrainedModel) -> None:
    agreement = agreement_with(model, 20)
    same = copy.deepcopy(model)
    assert agreement.difference(same) == agreement.difference_generating(same) == ""
    assert agreement.difference_generating(same, use_cache=False) == ""


def test_another_window_is_seen(model: PreTrainedModel) -> None:
    other = copy.deepcopy(model)
    agreement_with(other, 21)
    assert "they differ by" in agreement_with(model, 20).difference(other)


def test_a_stale_index_is_seen_with_a_cache_alone() -> None:
    model = make_model("qwen3")
    agreement = Agreement(BlockStack(model), DENSE, enough_tokens(model.config, 64, VOCAB))
    other = copy.deepcopy(model)
    find_blocks(other)[3].self_attn.layer_idx = 2  # its keys come to those of the block before
    assert agreement.difference(other) == ""
    assert fault_of(agreement.difference_generating, other)
    assert agreement.difference_generating(other, use_cache=False) == ""


def test_settings_of_generation_play_no_part(model: PreTrainedModel) -> None:
    agreement = agreement_with(model, 20)
    other = copy.deepcopy(model)
    own = other.generation_config
    own.repetition_penalty, own.suppress_tokens, own.eos_token_id = 5.0, [*range(40)], [*range(VOCAB)]
    assert agreement.difference_generating(other) == ""
    assert other.generation_config is own
    assert torch.is_inference_mode_enabled() is False
