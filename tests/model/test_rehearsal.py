"""Which blocks a model lets go: the numbers of every subset that is left are those of transformers with identities."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.subset import BlockSubset
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model import trials
from deprune.model.blocks import BlockStack
from deprune.model.context import context_of
from deprune.model.load import LoadedModel
from deprune.model.rehearsal import Reasons, rehearse, remembered
from deprune.model.source import ModelConfig, ModelFacts
from deprune.model.structure import find_blocks
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from tests.model.architectures import ARCHITECTURES, VOCAB, make_model
from tests.model.handing_on import toy

GEMMA4 = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0,
    "layer_types": ["sliding_attention", "full_attention"] * 4, "vocab_size_per_layer_input": VOCAB,
    "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 4, "sliding_window": 4,
}  # fmt: skip
"""Blocks 4 to 7 read the keys and values of 2 and 3; and each block has embeddings of its own."""

MLLAMA = {
    "text_config": {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "cross_attention_layers": [1, 4],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    "vision_config": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2, "image_size": 16,
        "patch_size": 8, "vision_output_dim": 48, "intermediate_layers_indices": [0, 1], "max_num_tiles": 1,
        "supported_aspect_ratios": [[1, 1]],
    },
}  # fmt: skip
"""Blocks 1 and 4 are for images."""


def made(kind: str, **settings: object) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def loaded(model: PreTrainedModel, context: int | None = 256) -> LoadedModel:
    stack = BlockStack(model)
    facts = ModelFacts(stack.n_blocks, context, "revision")
    return LoadedModel(ModelConfig(path="a/m"), facts, (stack,), None, "float32")  # type: ignore[arg-type]


def fixed(model: PreTrainedModel, folder: Path, *, physical: bool = False, n_tokens: int = 16) -> Reasons:
    return rehearse(loaded(model), n_tokens, physical, folder)


@contextmanager
def identities(model: PreTrainedModel, removed: Iterable[int]) -> Iterator[None]:
    """Makes identities of blocks, with nothing of the project but the place where the blocks are."""
    blocks = [find_blocks(model)[i] for i in removed]

    def identity(*args: Any, **kwargs: Any) -> Any:
        hidden = (args or (*kwargs.values(),))[0]
        return (hidden, None, None) if model.config.model_type == "rwkv" else hidden

    for block in blocks:
        block.forward = identity  # type: ignore[method-assign]
    yield
    for block in blocks:
        del block.__dict__["forward"]


def true_losses(model: PreTrainedModel, ids_RT: Tensor, subset: BlockSubset) -> list[float]:
    with torch.no_grad(), identities(model, subset.removed):
        logits_RTV = model(ids_RT, use_cache=False).logits
    losses_RT = functional.cross_entropy(logits_RTV[:, :-1].transpose(1, 2), ids_RT[:, 1:], reduction="none")
    return [float(loss) for loss in losses_RT.sum(1)]


def assert_all_subsets_are_right(model: PreTrainedModel, n_blocks: int, stay: Reasons) -> None:
    free = [block for block in range(n_blocks) if block not in stay]
    subsets = [BlockSubset(n_blocks, some) for k in range(len(free)) for some in itertools.combinations(free, k)]
    ids_RT = torch.randint(1, VOCAB, (3, 20), generator=torch.Generator().manual_seed(5))
    evaluator = SubsetEvaluator(
        [BlockStack(model)], CalibrationSet(ids_RT, "s", "t"), NegativeLogLikelihood(), EvaluatorConfig(batch_size=3),
        EvaluationStore(None),
    )  # fmt: skip
    for evaluation in evaluator.evaluate(subsets):
        assert evaluation.sums == pytest.approx(true_losses(model, ids_RT, evaluation.subset), rel=1e-5)


@pytest.mark.parametrize(
    ("way", "stay"),
    [
        ("nothing", []),
        ("named", []),  # blocks call their hidden state otherwise, and get it by that name
        ("stores", [1, 2]),
        ("last", [0, 2, 4]),
        ("first", [0]),
        ("attribute", [0]),
        ("all", [0, 1, 2, 3, 4]),
        ("skips", [1, 5]),
    ],
)
def test_what_is_handed_on_beside_the_hidden_state_is_never_that_of_another_subset(
    way: str, stay: list[int], tmp_path: Path
) -> None:
    model = toy(way)
    found = fixed(model, tmp_path)
    assert sorted(found) == stay
    assert_all_subsets_are_right(model, 6, found)


def test_blocks_that_store_keys_for_others_stay(tmp_path: Path) -> None:
    model = made("gemma4_text", **GEMMA4)
    found = fixed(model, tmp_path)
    reason = "needed by others: KeyError: '{}_attention' is missing or unknown"
    assert found == {2: reason.format("sliding"), 3: reason.format("full")}
    assert_all_subsets_are_right(model, 8, found)


def test_blocks_that_text_does_not_run_stay(tmp_path: Path) -> None:
    model = made("mllama", **MLLAMA)
    found = fixed(model, tmp_path)
    assert found == dict.fromkeys((1, 4), "not run on text")
    assert_all_subsets_are_right(model, 6, found)


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("value", "another model when its blocks are run one by one: RuntimeError: The size of tensor a"),
        ("in place", "another model when its blocks are run one by one"),
        ("twice", "does not run each of its blocks once and in order"),
        ("copies", "states of shape .2, 1, 8, 16. for a text of 8 tokens"),
    ],
)
def test_what_no_block_allows_is_refused(way: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        fixed(toy(way), tmp_path)


def test_a_length_that_the_configuration_does_not_say_is_found_by_trying(tmp_path: Path) -> None:
    model = toy("short")
    assert rehearse(loaded(model, context=20), 16, False, tmp_path) == {}
    with pytest.raises(ConfigError, match=r"m cannot read 50 tokens .*must match.*; give calib.seq_len=20 or less"):
        rehearse(loaded(model, context=None), 50, False, tmp_path)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make_model("mpt"), 64),
        (make_model("gpt2"), 64),
        (make_model("bloom"), None),
        (make_model("mamba"), None),
        (toy("table"), 40),
    ],
    ids=["mpt", "gpt2", "bloom", "mamba", "a table of positions"],
)
def test_the_longest_text_is_known_under_any_name(model: PreTrainedModel, expected: int | None) -> None:
    assert context_of(model.config, model) == expected
    if expected is not None:
        model(torch.ones(1, expected, dtype=torch.long), use_cache=False)
        with pytest.raises((RuntimeError, IndexError)):
            model(torch.ones(1, expected + 1, dtype=torch.long), use_cache=False)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES])
def test_no_architecture_loses_a_block_that_may_go(name: str, tmp_path: Path) -> None:
    found = rehearse(loaded(make_model(name), context=64), 32, True, tmp_path)
    assert {*found} == ({0} if name == "rwkv" else set())


def test_the_first_block_of_rwkv_stays_where_a_model_is_built(tmp_path: Path) -> None:
    model = make_model("rwkv")
    assert fixed(model, tmp_path) == {}
    assert_all_subsets_are_right(model, 4, {})
    found = fixed(model, tmp_path, physical=True)
    assert found == {0: "cannot be taken out: AttributeError: 'RwkvBlock' object has no attribute 'pre_ln'"}


def test_it_is_tried_once_for_a_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("gemma4_text", **GEMMA4)
    first = fixed(model, tmp_path)
    run: list[int] = []
    run_block = BlockStack.run_block
    monkeypatch.setattr(
        BlockStack, "run_block", lambda self, index, *rest: run.append(index) or run_block(self, index, *rest)
    )
    again = loaded(model)
    run.clear()
    assert rehearse(again, 16, False, tmp_path) == first
    assert run == []
    facts = ModelFacts(8, 256, "revision")
    assert remembered(ModelConfig(path="a/m"), facts, False, tmp_path) == first
    assert remembered(ModelConfig(path="a/m"), ModelFacts(8, 256, "other content"), False, tmp_path) == {}
    rehearse(again, 64, False, tmp_path)
    assert run, "a longer text is not tried"
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    run.clear()
    assert rehearse(again, 16, False, tmp_path) == first
    assert run, "a damaged file is believed"


def test_memory_that_is_short_says_nothing_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = loaded(make_model("llama"), context=64)

    def short(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(BlockStack, "run_block", short)
    with pytest.raises(torch.OutOfMemoryError):
        rehearse(stack, 32, False, tmp_path)
    assert not list(tmp_path.iterdir())


def test_windows_are_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    dependent = trials.dependent
    monkeypatch.setattr(
        trials, "dependent", lambda stack, ids, blocks: lengths.append(ids[0].shape[1]) or dependent(stack, ids, blocks)
    )
    for window, expected in ((4, [32]), (60, [68]), (200, [32, 208]), (4096, [32])):
        lengths.clear()
        model = made("gemma4_text", **GEMMA4 | {"sliding_window": window, "max_position_embeddings": 8192})
        rehearse(loaded(model, context=8192), 16, False, tmp_path / str(window))
        assert lengths == expected
