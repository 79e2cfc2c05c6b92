"""Blocks run one at a time are the physically pruned model, on any architecture."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, BertConfig, BertLMHeadModel, PreTrainedModel

from deprune.core.errors import UnsupportedModelError
from deprune.core.subset import BlockSubset
from deprune.model.blocks import BlockStack
from deprune.model.prune import blocks_removed, prune_blocks
from deprune.model.structure import find_blocks
from tests.model.architectures import ARCHITECTURES, N_BLOCKS, VOCAB, make_model

IDS = torch.randint(1, VOCAB, (3, 16), generator=torch.Generator().manual_seed(1))
SUBSET = BlockSubset.of(N_BLOCKS, [1, 2])


def logits_of(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS, use_cache=False).logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blockwise_is_pruned_is_reloaded(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    stack = BlockStack(model)
    blockwise = stack.run(IDS, SUBSET)
    dense = logits_of(model)

    pruned = copy.deepcopy(model)
    prune_blocks(pruned, SUBSET)
    expected = logits_of(pruned)
    assert len(find_blocks(pruned)) == N_BLOCKS - 2
    torch.testing.assert_close(blockwise, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected, dense, atol=1e-2), "the removed blocks made no difference"

    pruned.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits_of(reloaded), expected, rtol=0, atol=1e-6)

    with blocks_removed(model, SUBSET):
        torch.testing.assert_close(logits_of(model), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(logits_of(model), dense, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neo", "gemma3_text"])
def test_pruned_model_generates_with_its_cache(name: str) -> None:
    model = make_model(name)
    prune_blocks(model, SUBSET)
    arguments = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    cached = model.generate(IDS, use_cache=True, **arguments)
    torch.testing.assert_close(cached, model.generate(IDS, use_cache=False, **arguments))


def test_head_works_on_any_slice_of_positions() -> None:
    stack = BlockStack(make_model("gpt2"))
    hidden = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(2))
    pieces = [stack.logits(hidden[:, a:b]) for a, b in ((0, 3), (3, 4), (4, 10))]
    torch.testing.assert_close(torch.cat(pieces, dim=1), stack.logits(hidden), rtol=0, atol=1e-5)


def test_a_model_is_left_as_it_was_when_a_run_fails() -> None:
    model = make_model("llama")
    before = logits_of(model)
    with pytest.raises(RuntimeError, match="stop"), blocks_removed(model, SUBSET):
        raise RuntimeError("stop")
    assert model.config.num_hidden_layers == N_BLOCKS
    torch.testing.assert_close(logits_of(model), before, rtol=0, atol=0)


def test_encoder_is_refused() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with pytest.raises(UnsupportedModelError, match="not a decoder"):
        BlockStack(BertLMHeadModel(config))


def test_work_between_blocks_is_noticed() -> None:
    model = make_model("llama")
    first, second = find_blocks(model)[0], find_blocks(model)[1]
    seen: list[torch.Tensor] = []
    first.register_forward_hook(lambda module, args, output: seen.append(output))
    plain = second.forward

    def entangled(hidden: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        return plain(hidden, *args, **kwargs) + functional.relu(kwargs["position_embeddings"][0].mean() + len(seen))

    second.forward = entangled
    with pytest.raises(UnsupportedModelError, match="between them"):
        BlockStack(model)


def test_two_stacks_are_refused() -> None:
    model = make_model("llama")
    model.model.more = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(N_BLOCKS))
    with pytest.raises(UnsupportedModelError, match="2 module lists of 4 blocks"):
        find_blocks(model)
