"""Exports are what the pruned model is, or are refused; nothing is overwritten or left half-written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from deprune.core.subset import BlockSubset
from deprune.export import main
from deprune.model.load import LoadedModel
from deprune.model.source import EMBEDDED_FOLDER
from deprune.model.structure import find_blocks
from deprune.record.store import read_record
from tests.conftest import Command
from tests.model.architectures import ARCHITECTURES, make_model

IDS = torch.arange(1, 17).view(2, 8)


def save(model: PreTrainedModel, folder: Path) -> None:
    """Writes a model and a tokenizer that fits it well enough."""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED_FOLDER / "tiny_llama").save_pretrained(folder)


@pytest.fixture
def export(
    sweep_here: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs `python -m deprune.export` in this process; gives what it printed."""

    def run(*overrides: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["deprune.export", *overrides])
        capfd.readouterr()
        try:
            main()
            left: int | str | None = 0
        except SystemExit as exit_:
            left = exit_.code
        printed = capfd.readouterr()
        assert left == code, printed.err
        return printed.out + printed.err

    return run


def test_export_of_a_run(
    sweep_here: Command, export: Callable[..., str], embedded: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    assert sweep_here("budget=2", "calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "tracking=none").code == 0
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert "Written and checked: pruned" in export(f"run={record.run_id}", "out=pruned")
    model = AutoModelForCausalLM.from_pretrained("pruned", dtype=torch.float32)
    assert model.config.num_hidden_layers == 10
    expected = embedded("tiny_llama").stack.run(IDS, BlockSubset.of(12, record.removal.order))
    torch.testing.assert_close(model(IDS, use_cache=False).logits, expected, rtol=0, atol=1e-4)
    assert AutoTokenizer.from_pretrained("pruned").encode("Anna") == AutoTokenizer.from_pretrained(
        EMBEDDED_FOLDER / "tiny_llama"
    ).encode("Anna")
    card = (tmp_path / "pruned" / "README.md").read_text()
    assert f"Removed blocks (0-based): {', '.join(map(str, sorted(record.removal.order)))}." in card
    assert "Chosen by `greedy`" in card
    assert f"| mini_one_hop | acc | {record.scores.metrics[4].dense_value:.4f} |" in card
    assert str(tmp_path) not in card

    assert "The folder pruned exists" in export(f"run={record.run_id}", "out=pruned", code=1)


def test_export_by_hand(export: Callable[..., str], tmp_path: Path) -> None:
    export("model=tiny_qwen3", "subset=[5,3]", "out=deep/er/pruned")
    config = AutoConfig.from_pretrained(tmp_path / "deep/er/pruned")
    assert config.num_hidden_layers == len(config.layer_types) == 10


def test_mistakes_are_sentences_and_leave_nothing(export: Callable[..., str], tmp_path: Path) -> None:
    for overrides, sentence in {
        ("run=nothing", "out=x"): "There is no record of run 'nothing'",
        ("subset=[1]", "out=x"): "Nothing says which model",
        ("model=tiny_llama", "out=x"): "Nothing says which blocks",
        ("model=tiny_llama", "subset=[12]", "out=x"): "must be distinct and lie in 0..11",
        ("model=tiny_llama", "subset=[1]"): "The key 'out' needs a value",
    }.items():
        printed = export(*overrides, code=1)
        assert printed.startswith("Error: ")
        assert sentence in printed
        assert len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_blocks_that_depend_on_their_index_are_refused(
    export: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "diffllama", ARCHITECTURES["llama"])
    save(make_model("diffllama"), tmp_path / "dense")
    printed = export("model=hub", "model.path=dense", "subset=[0,1]", "out=pruned", code=1)
    assert "its class decides that by position" in printed
    assert [p.name for p in tmp_path.iterdir()] == ["dense"]


def test_blocks_that_keep_no_keys_generate_without_a_cache(export: Callable[..., str], tmp_path: Path) -> None:
    """The cache of transformers counts tokens by keys of attention; a user of `generate` must not meet its error."""
    dense = make_model("lfm2")
    save(dense, tmp_path / "dense")
    printed = export("model=hub", "model.path=dense", "subset=[1,3]", "out=pruned")
    assert "It generates without a cache only" in printed
    assert "It generates without a cache only" in (tmp_path / "pruned" / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained("pruned")
    ids = model.generate(IDS, max_new_tokens=5, do_sample=False, eos_token_id=None)
    for block in (1, 3):
        find_blocks(dense)[block].forward = lambda hidden, **kwargs: hidden
    likeliest = dense(ids, use_cache=False).logits.argmax(-1)
    assert ids[:, 8:].equal(likeliest[:, 7:-1])


def test_settings_that_a_type_writes_over_are_refused(export: Callable[..., str], tmp_path: Path) -> None:
    """Gemma 4 makes its last block one of full attention; without a window's worth of tokens nobody would see it."""
    same = {"rope_type": "default", "rope_theta": 10000.0}
    settings = ARCHITECTURES["gemma3_text"] | {
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 64,
        "global_head_dim": 8,
        "sliding_window": 64,
        "max_position_embeddings": 256,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {"sliding_attention": same, "full_attention": same},
    }
    torch.manual_seed(0)
    save(AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma4_text", **settings)), tmp_path / "dense")
    printed = export("model=hub", "model.path=dense", "subset=[3]", "out=pruned", code=1)
    assert "Gemma4TextConfig makes the layer_types of block 2 full_attention, not sliding_attention" in printed
    assert "Written and checked" in export("model=hub", "model.path=dense", "subset=[2]", "out=pruned")


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (
            "zamba2",
            {
                "layers_block_type": ["linear_attention", "hybrid"] * 2,
                "mamba_d_state": 8,
                "n_mamba_heads": 4,
                "mamba_ngroups": 1,
                "chunk_size": 8,
                "adapter_rank": 4,
            },
            "its blocks share weights by their index",
        ),
        (
            "gemma4_text",
            {
                "head_dim": 8,
                "global_head_dim": 8,
                "layer_types": ["full_attention"] * 4,
                "hidden_size_per_layer_input": 8,
                "vocab_size_per_layer_input": 64,
            },
            "it holds a part for every block, which cannot be cut",
        ),
        (
            "olmo_hybrid",
            {"layer_types": ["full_attention"] + ["linear_attention"] * 3},
            "without block 0: OLMoHybrid expects at least one attention layer",
        ),
    ],
)
def test_what_cannot_be_written_is_said(
    kind: str, settings: dict[str, Any], sentence: str, export: Callable[..., str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    common = {k: v for k, v in ARCHITECTURES["llama"].items() if k.endswith(("vocab_size", "hidden_size", "token_id"))}
    common |= {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    save(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **common, **settings)), tmp_path / "dense")
    printed = export("model=hub", "model.path=dense", "subset=[0]", "out=pruned", code=1)
    assert sentence in printed
    assert len(printed.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["dense"]


OWN_CODE = """
from torch import nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


class NoAttention(nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states * 0, None


class Layer(LlamaDecoderLayer):
    def __init__(self, config, index):
        super().__init__(config, index)
        self.scale_depth, self.num_hidden_layers = config.scale_depth, config.num_hidden_layers
        if index in config.drop_attn_list:
            self.self_attn = NoAttention()

    def forward(self, hidden_states, **kwargs):
        out = super().forward(hidden_states, **kwargs)
        return hidden_states + (out - hidden_states) * self.scale_depth / self.num_hidden_layers**0.5


class OwnForCausalLM(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.model.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.post_init()
"""


def test_own_code_keeps_block_numbers_and_factors(export: Callable[..., str], tmp_path: Path) -> None:
    """Its blocks compute with their number, so that only the logits tell which factor is right."""
    config = ARCHITECTURES["llama"] | {"scale_depth": 1.4, "drop_attn_list": [1, 3]}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **config))
    model.config.auto_map = {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    save(model, tmp_path / "dense")
    (tmp_path / "dense" / "modeling_own.py").write_text(OWN_CODE)
    weights = load_file(tmp_path / "dense" / "model.safetensors")
    kept = {k: v for k, v in weights.items() if "layers.1.self_attn" not in k and "layers.3.self_attn" not in k}
    save_file(kept, tmp_path / "dense" / "model.safetensors", metadata={"format": "pt"})

    own = ("model=hub", "model.path=dense", "model.trust_remote_code=true")
    assert "Written and checked" in export(*own, "subset=[0]", "out=pruned")
    dense, pruned = (AutoModelForCausalLM.from_pretrained(m, trust_remote_code=True) for m in ("dense", "pruned"))
    assert pruned.config.drop_attn_list == [0, 2]
    assert pruned.config.scale_depth == pytest.approx(1.4 * (3 / 4) ** 0.5)
    dense.model.layers[0].forward = lambda hidden, **kwargs: hidden
    torch.testing.assert_close(pruned(IDS).logits, dense(IDS, use_cache=False).logits, rtol=0, atol=1e-5)
