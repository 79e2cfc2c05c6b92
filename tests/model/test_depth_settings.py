"""Rewritten settings keep every block what it is, whatever form they have; where they cannot, that is said."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from deprune.core.errors import UnsupportedModelError
from deprune.core.subset import BlockSubset
from deprune.model.depth_settings import pruned_settings
from tests.model.architectures import ARCHITECTURES

N = 6


class ToyConfig(PretrainedConfig):
    model_type = "toy_of_tests"

    def __init__(self, num_hidden_layers: int = N, **others: Any) -> None:
        self.num_hidden_layers = num_hidden_layers
        super().__init__(**others)


class ToyBlock(nn.Module):
    def __init__(self, index: int, kind: Any, factor: float) -> None:
        super().__init__()
        self.layer_idx, self.factor = index, factor
        self.mix: nn.Module = nn.Linear(2, 3) if kind else nn.Identity()
        self.out = nn.Linear(2, 2)


class Toy(PreTrainedModel):
    """A model whose blocks are of one of two kinds, decided by the form of setting that a test is about."""

    config_class = ToyConfig
    kind_of: Callable[[Any, int], Any]
    factor_of: Callable[[Any], float]

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        kind_of, factor = type(self).kind_of, type(self).factor_of(config)
        self.layers = nn.ModuleList(ToyBlock(i, kind_of(config, i), factor) for i in range(config.num_hidden_layers))


def toy(kind_of: Callable[[Any, int], Any], factor_of: Callable[[Any], float] = lambda c: 1.0, **form: Any) -> Toy:
    class_ = type("Toy", (Toy,), {"kind_of": staticmethod(kind_of), "factor_of": staticmethod(factor_of)})
    return class_(ToyConfig(**form))


FORMS: dict[str, tuple[dict[str, Any], Callable[[Any, int], Any]]] = {
    "an entry per block": ({"layer_kinds": list("abbaab")}, lambda c, i: c.layer_kinds[i] == "a"),
    "numbers per block": ({"is_wide": [0, 1, 1, 0, 1, 0]}, lambda c, i: c.is_wide[i]),
    "a permutation per block": ({"order": [5, 0, 1, 4, 2, 3]}, lambda c, i: c.order[i] > 2),
    "block numbers": ({"drop_attn_list": [1, 4]}, lambda c, i: i in c.drop_attn_list),
    "block numbers from one": ({"ple_layer_ids": [1, 4]}, lambda c, i: i + 1 in c.ple_layer_ids),
    "block numbers from the end": (
        {"wide_layers": [-1, 2]},
        lambda c, i: i in [number % c.num_hidden_layers for number in c.wide_layers],
    ),
    "all block numbers": ({"moe_layers": [*range(N)]}, lambda c, i: i in c.moe_layers),
    "a dictionary by number": ({"overrides": {"1": {"w": 1}, "5": {"w": 1}}}, lambda c, i: str(i) in c.overrides),
    "letters": ({"hybrid_pattern": "MM*-M*"}, lambda c, i: c.hybrid_pattern[i] == "*"),
    "runs": (
        {"attention_types": [[["global", "local"], 2], [["local"], 2]]},
        lambda c, i: [kind for kinds, n in c.attention_types for kind in kinds * n][i] == "local",
    ),
    "a pattern that repeats": ({"pattern": ["r", "r", "a"]}, lambda c, i: c.pattern[i % len(c.pattern)] == "a"),
    "a number of first blocks": ({"first_k_dense": 2}, lambda c, i: i >= c.first_k_dense),
    "a last block": ({"moe_layer_end": 3}, lambda c, i: i <= c.moe_layer_end),
    "a number of last blocks": ({"num_wide": 2}, lambda c, i: i >= c.num_hidden_layers - c.num_wide),
    "in a part": ({"attn": {"which": [0, 3]}}, lambda c, i: i in c.attn["which"]),
    "a list as long by accident": ({"scales": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}, lambda c, i: len(c.scales) == N),
}


def blocks_of(model: nn.Module) -> list[Any]:
    return [(repr(block), getattr(block, "factor", None)) for block in model.layers]


@pytest.mark.parametrize("form", FORMS)
@given(kept=st.sets(st.integers(0, N - 1), min_size=1, max_size=N - 1))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_form_of_setting_keeps_the_blocks(form: str, kept: set[int]) -> None:
    values, kind_of = FORMS[form]
    dense = toy(kind_of, **values)
    subset = BlockSubset.of(N, {*range(N)} - kept)
    pruned = type(dense)(next(pruned_settings(dense, subset)))
    assert blocks_of(pruned) == [blocks_of(dense)[block] for block in subset.kept]


@pytest.mark.parametrize("power", [0.5, 1.0, -0.5])
def test_factors_that_depend_on_the_depth_are_kept(power: float) -> None:
    dense = toy(lambda c, i: 0, lambda c: c.scale_depth / c.num_hidden_layers**power, scale_depth=1.4)
    pruned = type(dense)(next(pruned_settings(dense, BlockSubset.of(N, [0, 3]))))
    assert pruned.layers[0].factor == pytest.approx(dense.layers[0].factor, rel=1e-12)


def test_a_period_is_found_or_is_named() -> None:
    dense = toy(lambda c, i: i % c.attn_period == c.attn_offset, attn_period=3, attn_offset=1, unrelated=4)
    for removed, kinds in {(0,): [1, 0, 0, 1, 0], (1,): [0, 0, 0, 1, 0], (1, 4): [0, 0, 0, 0]}.items():
        pruned = type(dense)(next(pruned_settings(dense, BlockSubset.of(N, removed))))
        assert [isinstance(block.mix, nn.Linear) for block in pruned.layers] == kinds
    with pytest.raises(UnsupportedModelError, match=r"attn_period and attn_offset decide that by position") as error:
        next(pruned_settings(dense, BlockSubset.of(N, [2, 3])))
    assert "unrelated" not in str(error.value)


def test_a_period_gives_way_to_block_numbers() -> None:
    dense = toy(
        lambda c, i: (i + 1) % c.sparse_step == 0 and i not in c.mlp_only_layers, sparse_step=2, mlp_only_layers=[]
    )
    pruned = type(dense)(next(pruned_settings(dense, BlockSubset.of(N, [0, 3, 5]))))
    assert [isinstance(block.mix, nn.Linear) for block in pruned.layers] == [True, False, False]


def test_what_a_class_decides_is_said() -> None:
    dense = toy(lambda c, i: i == 0, unrelated=1)
    with pytest.raises(
        UnsupportedModelError, match=r"mix.* of block 1 would be .*; its class decides that by position"
    ):
        next(pruned_settings(dense, BlockSubset.of(N, [0])))
    assert next(pruned_settings(dense, BlockSubset.of(N, [1]))).num_hidden_layers == N - 1


_COMMON = {k: v for k, v in ARCHITECTURES["llama"].items() if k != "num_hidden_layers"}
_MOE = ARCHITECTURES["qwen2_moe"]
_DEEPSEEK = ARCHITECTURES["deepseek_v3"]
BLOCKS = st.sets(st.integers(0, N - 1))
KINDS = st.lists(st.sampled_from(["sliding_attention", "full_attention"]), min_size=N, max_size=N)

ALWAYS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ernie4_5_moe": st.tuples(st.integers(0, N - 1), st.integers(0, N - 1), st.integers(1, 2)).map(
        lambda of: (
            _COMMON
            | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16, "moe_layer_interval": of[2]}
            | {"moe_layer_start_index": of[0], "moe_layer_end_index": of[1]}
        )
    ),
    "deepseek_v3": st.integers(0, N).map(lambda k: _DEEPSEEK | {"first_k_dense_replace": k}),
    "qwen2_moe": st.tuples(BLOCKS, st.integers(1, 3)).map(
        lambda of: _MOE | {"mlp_only_layers": sorted(of[0]), "decoder_sparse_step": of[1]}
    ),
    "bamba": BLOCKS.map(lambda of: ARCHITECTURES["bamba"] | {"attn_layer_indices": sorted(of)}),
    "llama4_text": st.tuples(BLOCKS, st.lists(st.integers(0, 1), min_size=N, max_size=N)).map(
        lambda of: (
            _COMMON
            | {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 32}
            | {"moe_layers": sorted(of[0]), "no_rope_layers": of[1]}
        )
    ),
    "gemma3_text": KINDS.map(lambda kinds: ARCHITECTURES["gemma3_text"] | {"layer_types": kinds}),
    "gpt_neo": st.lists(st.sampled_from(["global", "local"]), min_size=N, max_size=N).map(
        lambda kinds: ARCHITECTURES["gpt_neo"] | {"num_layers": N, "attention_types": [[kinds, 1]]}
    ),
    "recurrent_gemma": st.lists(st.sampled_from(["recurrent", "attention"]), min_size=1, max_size=N).map(
        lambda kinds: ARCHITECTURES["recurrent_gemma"] | {"block_types": kinds}
    ),
    "minicpm3": st.floats(0.5, 3).map(
        lambda factor: {
            **{k: v for k, v in _DEEPSEEK.items() if "expert" not in k and "group" not in k and "moe" not in k},
            "scale_depth": factor,
            "head_dim": 4,
        }
    ),
}
"""Types of transformers whose settings can say any of their subsets, with settings made up."""

SOMETIMES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "gemma4_text": KINDS.map(
        lambda kinds: (
            _COMMON
            | {"head_dim": 8, "global_head_dim": 16, "hidden_size_per_layer_input": 0, "sliding_window": 4}
            | {"layer_types": [*kinds[:-1], "full_attention"], "vocab_size_per_layer_input": 64}
        )
    ),
    "diffllama": st.just(_COMMON),
}
"""Types that can say some: those are right, and the others are refused."""

IDS = torch.randint(1, 64, (1, 24), generator=torch.Generator().manual_seed(0))


def without(model: PreTrainedModel, removed: Sequence[int], n_blocks: int) -> torch.Tensor:
    """Returns the logits with some blocks made identities: transformers alone."""
    (blocks,) = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == n_blocks]
    returned: dict[int, Any] = {}
    for block in removed:
        blocks[block].register_forward_hook(lambda module, args, output: returned.update({0: type(output)}))
    with torch.inference_mode():
        model(IDS, use_cache=False)
    for block in removed:
        wraps = returned[0] is tuple
        blocks[block].forward = lambda hidden, *args, wraps=wraps, **kwargs: (hidden, None) if wraps else hidden
    with torch.inference_mode():
        return model(IDS, use_cache=False).logits


def check_type(kind: str, values: dict[str, Any], kept: set[int]) -> None:
    torch.manual_seed(0)
    depth = "num_layers" if kind == "gpt_neo" else "num_hidden_layers"
    dense: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**values, depth: N})).eval()
    subset = BlockSubset.of(N, {*range(N)} - kept)
    config = next(pruned_settings(dense, subset))
    again = type(config).from_dict(config.to_dict())  # as a file would give it
    pruned = type(dense)(again).eval()
    (path,) = [k for k, m in dense.named_modules() if isinstance(m, nn.ModuleList) and len(m) == N]
    weights = {}
    for name, weight in dense.state_dict().items():
        block, *_ = name.removeprefix(f"{path}.").split(".")
        if not name.startswith(f"{path}."):
            weights[name] = weight
        elif int(block) in subset.kept:
            weights[name.replace(f"{path}.{block}.", f"{path}.{subset.kept.index(int(block))}.", 1)] = weight
    pruned.load_state_dict(weights)
    with torch.inference_mode():
        got = pruned(IDS, use_cache=False).logits
    torch.testing.assert_close(got, without(dense, subset.removed, N), rtol=0, atol=2e-5)


KEPT = st.sets(st.integers(0, N - 1), min_size=1, max_size=N - 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALWAYS)
def test_types_whose_settings_can_say_it(kind: str) -> None:
    @given(values=ALWAYS[kind], kept=KEPT)
    @settings(max_examples=6, deadline=None, derandomize=True)
    def check(values: dict[str, Any], kept: set[int]) -> None:
        check_type(kind, values, kept)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOMETIMES)
def test_types_whose_settings_can_say_some(kind: str) -> None:
    said = set()

    @given(values=SOMETIMES[kind], kept=st.one_of(KEPT, st.integers(1, N - 1).map(lambda n: {*range(n)})))
    @settings(max_examples=12, deadline=None, derandomize=True)
    def check(values: dict[str, Any], kept: set[int]) -> None:
        try:
            check_type(kind, values, kept)
        except UnsupportedModelError:
            said.add("refused")
        else:
            said.add("right")

    check()
    assert said == {"refused", "right"}
