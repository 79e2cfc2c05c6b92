"""A model is what its weights say: what is missing, surplus or otherwise is refused by name, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.model.load import load_model
from deprune.model.source import EMBEDDED_FOLDER, ModelConfig, load_tokenizer, read_facts
from tests.model.architectures import ARCHITECTURES, make_model

WHOLE = EMBEDDED_FOLDER / "tiny_llama"
IDS = torch.arange(5, 25)[None]

Weights = dict[str, Tensor]
Change = Callable[[Weights], Weights]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of an embedded model."""
    return Path(shutil.copytree(WHOLE, tmp_path / "m"))


def settings(folder: Path, **changes: Any) -> None:
    """Changes config.json; `...` takes a key out."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def rewrite(folder: Path, change: Change) -> None:
    """Changes the weights."""
    path = folder / "model.safetensors"
    save_file({name: w.contiguous() for name, w in change(load_file(path)).items()}, path, metadata={"format": "pt"})


def split(folder: Path, names: tuple[str, str], *, unnamed: int = 0) -> None:
    """Cuts the weights into two files with an index, which may leave files out, from the last on."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {name: names[number % 2] for number, name in enumerate(sorted(weights))}
    for file in names:
        save_file({n: w for n, w in weights.items() if where[n] == file}, folder / file, metadata={"format": "pt"})
    named = names[: len(names) - unnamed]
    index = {"metadata": {}, "weight_map": {name: file for name, file in where.items() if file in named}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def load(folder: Path, **how: Any) -> Any:
    return load_model(ModelConfig(path=str(folder), **how), "cpu", "float32")


def logits(folder: Path, **how: Any) -> Tensor:
    """What the project computes."""
    with torch.inference_mode():
        found: Tensor = load(folder, **how).stack.model(IDS, use_cache=False).logits
    return found


@pytest.fixture(scope="module")
def expected() -> Tensor:
    """What transformers alone computes of the whole model."""
    with torch.inference_mode():
        found: Tensor = AutoModelForCausalLM.from_pretrained(WHOLE, dtype="float32").eval()(IDS).logits
    return found


def without(*blocks: int) -> Change:
    cut = tuple(f"model.layers.{block}." for block in blocks)
    return lambda weights: {name: w for name, w in weights.items() if not name.startswith(cut)}


def renamed(old: str, new: str) -> Change:
    return lambda weights: {name.replace(old, new): w for name, w in weights.items()}


def prefixed(prefix: str) -> Change:
    return lambda weights: {prefix + name: w for name, w in weights.items()}


def more(*names: str, shape: tuple[int, ...] = (64,)) -> Change:
    return lambda weights: weights | {name: torch.ones(shape) for name in names}


def less(*names: str) -> Change:
    return lambda weights: {name: w for name, w in weights.items() if name not in names}


UP = "model.layers.3.mlp.up_proj.weight"
NO_FIT: dict[str, tuple[dict[str, Any], Change, str]] = {
    "fewer blocks": ({}, without(10, 11), r"describes a model of 12 blocks, .* those of 10 \(0 to 9\)"),
    "a block in the middle": ({}, without(5), r"12 blocks, .* those of 11 \(0 to 4, 6 to 11\)"),
    "more blocks": ({"num_hidden_layers": 6}, dict, r"6 blocks, .* those of 12 \(0 to 11\); take weights and a config"),
    "more blocks without a prefix": ({"num_hidden_layers": 6}, renamed("model.", ""), r"6 blocks, .* 12 \(0 to 11\)"),
    "an extra block of one weight": ({}, more("model.layers.12.eh_proj.weight"), r"12 blocks, .* 13 \(0 to 12\)"),
    "a matrix": ({}, less(UP), rf"^1 of 110 weights of .* are not in its files \({UP}\)"),
    "a norm": ({}, less("model.layers.3.input_layernorm.weight"), "1 of 110 weights .*layers.3.input_layernorm"),
    "the embedding": ({}, less("model.embed_tokens.weight"), "1 of 110 weights .*model.embed_tokens.weight"),
    "the head": ({"tie_word_embeddings": False}, dict, r"\(lm_head.weight\); .* without its head"),
    "the head of the bare class": ({"tie_word_embeddings": False}, renamed("model.", ""), "without its head"),
    "a classifier": (
        {"tie_word_embeddings": False},
        more("score.weight"),
        r"\(lm_head.weight\); they are those of a classifier \(score.weight\)",
    ),
    "a wrapper": ({}, prefixed("module."), "110 of 110 .* names begin with 'module.' there; save them again"),
    "two wrappers": ({}, prefixed("module._orig_mod."), "names begin with 'module._orig_mod.' there"),
    "another base": ({}, renamed("model.", "transformer."), "begin with 'transformer.' there in place of 'model.'"),
    "an adapted model": ({}, prefixed("base_model.model."), "names begin with 'base_model.model.' there"),
    "other names": ({}, renamed("self_attn", "attn"), r"48 of 110 .*other names are there .*attn.k_proj.* than llama"),
    "another type": ({"model_type": "gpt_neox"}, dict, "weights of .* are not in its files .* than gpt_neox"),
    "parts of another type": ({"model_type": "qwen3"}, dict, r"24 of 134 weights .*k_norm"),
    "norms of another type": ({}, more("model.layers.3.self_attn.q_norm.weight"), "no place for 1 of .*q_norm.weight"),
    "a bias in a block": ({}, more("model.layers.3.self_attn.q_proj.bias"), "no place for 1 of .*q_proj.bias"),
    "a bias of the head": ({}, more("lm_head.bias", shape=(1024,)), r"no place for 1 of .*\(lm_head.bias\)"),
    "positions": ({}, more("model.embed_positions.weight"), "no place for 1 of .*embed_positions"),
    "an adapter": ({}, more("model.layers.3.self_attn.q_proj.lora_A.weight"), "adapter is not merged"),
    "packed": ({}, renamed("proj.weight", "proj.qweight"), "84 of 110 .*quantised: take the unquantised repository"),
    "whole numbers": ({}, lambda w: w | {UP: (w[UP] * 9).to(torch.int8)}, rf"^{UP} is stored in whole numbers \(I8\)"),
    "another shape": ({}, lambda w: w | {UP: w[UP][:100]}, r"1 of 110 .*\(100, 64\) in the files and \(176, 64\)"),
    "a smaller vocabulary": ({"vocab_size": 1000}, dict, r"embed_tokens.weight is \(1024, 64\) .* \(1000, 64\)"),
    "not numbers": ({}, lambda w: w | {UP: w[UP] * float("nan")}, rf"11264 of the 11264 numbers of {UP} .* not finite"),
    "one infinity": ({}, lambda w: w | {UP: w[UP].index_fill(1, torch.tensor([3]), float("inf"))}, "176 of the 11264"),
}


@pytest.mark.parametrize("case", NO_FIT)
def test_weights_that_are_not_those_of_the_configuration(case: str, folder: Path) -> None:
    changes, change, sentence = NO_FIT[case]
    settings(folder, **changes)
    rewrite(folder, change)
    with pytest.raises(UnsupportedModelError, match=sentence) as refused:
        load(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


WIDE = {"tie_word_embeddings": False}
FIT: dict[str, tuple[dict[str, Any], Change]] = {
    "frequencies": ({}, more(*(f"model.layers.{i}.self_attn.rotary_emb.inv_freq" for i in range(12)), shape=(8,))),
    "masks": ({}, more(*(f"model.layers.{i}.self_attn.masked_bias" for i in range(12)), shape=())),
    "another tower": ({}, more("vision_tower.layers.0.q.weight", "model.visual.blocks.0.q.weight")),
    "predictors of more tokens": ({}, more("mtp.layers.0.q.weight", "model.mtp.layers.0.q.weight")),
    "another head": ({}, more("v_head.summary.weight", "score.weight")),
    "the bare class": ({}, renamed("model.", "")),
    "a stored head that is tied": ({}, lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"].clone()}),
    "a head of its own": (WIDE, lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"].clone()}),
    "the head in place of the embedding": ({}, renamed("model.embed_tokens", "lm_head")),
    "single precision": ({}, lambda weights: {name: w.float() for name, w in weights.items()}),
}


@pytest.mark.parametrize("case", FIT)
def test_harmless_differences_change_no_number(case: str, folder: Path, expected: Tensor) -> None:
    changes, change = FIT[case]
    settings(folder, **changes)
    rewrite(folder, change)
    torch.testing.assert_close(logits(folder), expected, rtol=0, atol=0)


@pytest.mark.parametrize("names", [("a.safetensors", "b.safetensors"), ("model-1.safetensors", "model-2.safetensors")])
def test_parts_are_those_that_the_index_names(names: tuple[str, str], folder: Path, expected: Tensor) -> None:
    split(folder, names)
    torch.testing.assert_close(logits(folder), expected, rtol=0, atol=0)
    (folder / names[1]).unlink()
    with pytest.raises(UnsupportedModelError, match=rf"names 1 of 2 files that are not there \({names[1]}\)"):
        load(folder)


def test_parts_that_the_index_leaves_out(folder: Path) -> None:
    split(folder, ("a.safetensors", "b.safetensors"), unnamed=1)
    with pytest.raises(UnsupportedModelError, match="55 of 110 weights"):
        load(folder)


WRONG_FILES: dict[str, tuple[str, bytes | None, str]] = {
    "no weights": ("model.safetensors", None, "holds no model.safetensors; they must be safetensors"),
    "a pointer": ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "cut short": ("model.safetensors", (WHOLE / "model.safetensors").read_bytes()[:-9], "1350039 bytes where its head"),
    "a cut head": ("model.safetensors", (WHOLE / "model.safetensors").read_bytes()[:99], "was cut short"),
    "no settings": ("config.json", b"{", "config.json is not valid JSON"),
    "a list of settings": ("config.json", b"[]", "config.json is JSON, but no object"),
    "settings of generation": ("generation_config.json", b'{"max_new_tokens": -1}', "^The generation_config.json of"),
    "a tokenizer's pointer": (
        "tokenizer.json",
        b"version https://git-lfs.github.com/spec/v1\n",
        "tokenizer.json is a Git",
    ),
    "a tokenizer's list": ("tokenizer_config.json", b"[]", "tokenizer_config.json is JSON, but no object"),
    "no tokenizer": ("tokenizer.json", None, "holds no tokenizer"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_the_file_that_is_at_fault_is_named(case: str, folder: Path) -> None:
    name, content, sentence = WRONG_FILES[case]
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=sentence):
        load(folder)


def test_an_empty_tokenizer_is_none(tmp_path: Path) -> None:
    """Without its files transformers makes one of a single token, and says nothing."""
    folder = Path(shutil.copytree(EMBEDDED_FOLDER / "tiny_qwen3", tmp_path / "m"))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert len(AutoTokenizer.from_pretrained(folder)) == 1
    with pytest.raises(UnsupportedModelError, match="holds no tokenizer"):
        load_tokenizer(ModelConfig(path=str(folder)))


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "kinds": ({"layer_types": ["full_attention"] * 9}, r"\(12\) must be equal to .* `layer_types` \(9\)"),
    "heads": ({"num_attention_heads": 5}, r"hidden size \(64\) is not a multiple .* heads \(5\)"),
    "text": ({"num_hidden_layers": "12"}, r"expected int, got str \(value: '12'\)"),
    "less than none": ({"num_hidden_layers": -1}, r"says -1 blocks \(num_hidden_layers\)"),
    "unknown type": ({"model_type": "oracle"}, "knows no type 'oracle'"),
    "no type": ({"model_type": ...}, "model_type"),
    "images": ({"model_type": "clip"}, "a clip model, which transformers does not load as a language model"),
    "two halves": ({"model_type": "t5"}, "a t5 model, not a decoder-only language model"),
    "activation": ({"hidden_act": "magic"}, "describes cannot be built .'magic' is missing or unknown"),
    "single blocks": (
        {"per_layer_config": {"2": {"intermediate_size": 96}}},
        "single blocks, per_layer_config, are not",
    ),
    "quantised": (
        {"quantization_config": {"quant_method": "magic"}},
        "quantised by 'magic', .* unquantised repository",
    ),
    "quantised somehow": ({"quantization_config": {"bits": 4}}, "quantised by 'unknown', .* unquantised repository"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_the_whole_reason_against_a_configuration(case: str, folder: Path) -> None:
    changes, sentence = WRONG_SETTINGS[case]
    settings(folder, **changes)
    with pytest.raises(UnsupportedModelError, match=sentence) as refused:
        read_facts(ModelConfig(path=str(folder)))
    assert "\n" not in str(refused.value)
    assert "Error" not in str(refused.value)


@pytest.mark.parametrize("command", ["plan", "export"])
def test_other_commands_give_the_same_reason(command: str, folder: Path, run_here: Callable[..., Any]) -> None:
    settings(folder, num_attention_heads=5)
    result = run_here(command, "model=hub", f"model.path={folder}", *(["subset=[1]", "out=o"] * (command == "export")))
    assert result.code == 1
    assert "The hidden size (64) is not a multiple of the number of attention heads (5)" in result.out + result.err


def test_weights_that_need_a_package_to_unpack(folder: Path) -> None:
    settings(folder, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    with pytest.raises(UnsupportedModelError, match=r"quantised \(gptq\) .*; take the unquantised repository"):
        load(folder)


def test_an_adapter_alone(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b", "peft_type": "LORA"}')
    with pytest.raises(ConfigError, match="it is an adapter: merge it into its model"):
        read_facts(ModelConfig(path=str(folder)))


OWN_CODE = """
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

class Nothing(nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnForCausalLM(LlamaForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        for i in config.skipped:
            self.model.layers[i] = Nothing()
        self.post_init()
"""


def test_own_code_that_was_not_used(folder: Path) -> None:
    settings(folder, auto_map={"AutoModelForCausalLM": "own.OwnForCausalLM"}, skipped=[2])
    (folder / "own.py").write_text(OWN_CODE)
    rewrite(folder, without(2))
    with pytest.raises(UnsupportedModelError, match=r"own code .auto_map., which was not used.*trust_remote_code=true"):
        load(folder)


def test_a_block_may_do_nothing_and_have_no_weights(folder: Path) -> None:
    settings(folder, auto_map={"AutoModelForCausalLM": "own.OwnForCausalLM"}, skipped=[2])
    (folder / "own.py").write_text(OWN_CODE)
    rewrite(folder, without(2))
    loaded = load(folder, trust_remote_code=True)
    whole = AutoModelForCausalLM.from_pretrained(WHOLE, dtype="float32").eval()
    whole.model.layers[2].forward = lambda hidden_states, **_: hidden_states
    with torch.inference_mode():
        torch.testing.assert_close(loaded.stack.model(IDS).logits, whole(IDS).logits, rtol=0, atol=0)
    assert loaded.facts.n_blocks == 12
    assert loaded.identity()["own_code"]
    assert "own_code" not in load(WHOLE).identity()
    rewrite(folder, without(11))
    with pytest.raises(UnsupportedModelError, match=r"12 blocks, .* those of 11 \(0 to 10\)"):
        load(folder, trust_remote_code=True)


def test_the_code_belongs_to_a_models_identity_where_it_may_run(folder: Path) -> None:
    def revision(*, trust: bool) -> str:
        return read_facts(ModelConfig(path=str(folder), trust_remote_code=trust)).revision

    before = revision(trust=False)
    (folder / "own.py").write_text(OWN_CODE)
    with_code = revision(trust=True)
    assert (revision(trust=False), with_code != before) == (before, True)
    (folder / "own.py").write_text(OWN_CODE + "\n# another")
    assert revision(trust=True) not in (before, with_code)


READ = ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
READ += ["special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model"]
READ += ["spiece.model", "qwen.tiktoken", "chat_template.jinja"]
NOT_READ = ["trainer_state.json", "optimizer.safetensors", "training_args.bin", "all_results.json", "README.md"]
NOT_READ += ["preprocessor_config.json", "pytorch_model.bin", "model.safetensors.index.json", "quant_log.csv"]


@pytest.mark.parametrize("name", [*READ, *NOT_READ])
def test_identity_is_made_of_the_files_that_were_read(name: str, folder: Path) -> None:
    before = read_facts(ModelConfig(path=str(folder))).revision
    path = folder / name
    path.write_bytes((path.read_bytes() if path.is_file() else b"{}") + b"\n")
    after = read_facts(ModelConfig(path=str(folder))).revision
    assert (after != before) == (name in READ)


def test_identity_has_the_parts_that_the_index_names(folder: Path) -> None:
    split(folder, ("a.safetensors", "b.safetensors"))
    before = read_facts(ModelConfig(path=str(folder))).revision
    (folder / "c.safetensors").write_bytes(b"another model's")
    assert read_facts(ModelConfig(path=str(folder))).revision == before
    (folder / "b.safetensors").write_bytes(b"other weights")
    assert read_facts(ModelConfig(path=str(folder))).revision != before


OWN_DECODER = """
import torch
from torch import nn
from transformers import PreTrainedModel, PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

class OwnConfig(PretrainedConfig):
    model_type = "own_decoder"

    def __init__(self, n_rungs=5, width=24, vocab_size=1024, **kwargs):
        self.n_rungs, self.width, self.vocab_size = n_rungs, width, vocab_size
        super().__init__(**kwargs)

class Rung(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden_states):
        return hidden_states + self.down(torch.tanh(self.up(hidden_states.cumsum(1))))

class OwnForCausalLM(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.ladder = nn.ModuleList([Rung(config.width) for _ in range(config.n_rungs)])
        self.out = nn.Linear(config.width, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, use_cache=None, **kwargs):
        hidden_states = self.embed(input_ids)
        for rung in self.ladder:
            hidden_states = rung(hidden_states)
        return CausalLMOutputWithPast(logits=self.out(hidden_states))
"""


@pytest.fixture
def own_decoder(folder: Path) -> Path:
    """A decoder whose configuration has no name that transformers knows, for depth or width."""
    (folder / "own.py").write_text(OWN_DECODER)
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    own = {"model_type": "own_decoder", "auto_map": code, "n_rungs": 5, "width": 24, "vocab_size": 1024}
    (folder / "config.json").write_text(json.dumps(own))
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    )
    save_file(dict(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_depth_is_that_of_the_modules_where_the_configuration_does_not_say_it(own_decoder: Path) -> None:
    config = ModelConfig(path=str(own_decoder), trust_remote_code=True)
    assert (read_facts(config).n_blocks, load_model(config, "cpu", "float32").stack.n_blocks) == (5, 5)
    rewrite(own_decoder, lambda weights: {n: w for n, w in weights.items() if "ladder.4" not in n})
    with pytest.raises(UnsupportedModelError, match=r"describes a model of 5 blocks, .* those of 4 \(0 to 3\)"):
        load_model(config, "cpu", "float32")


@pytest.mark.slow
def test_an_unknown_decoder_is_planned_and_swept(own_decoder: Path, run_here: Callable[..., Any]) -> None:
    overrides = ["model=hub", f"model.path={own_decoder}", "model.trust_remote_code=true", "search=oneshot", "budget=1"]
    overrides += ["calib=narratives", "calib.n_samples=2", "calib.seq_len=16", "eval=none", "tracking=none"]
    planned = run_here("plan", *overrides)
    assert planned.code == 0, planned.err
    swept = run_here("sweep", *overrides)
    assert swept.code == 0, swept.err


def test_depth_is_that_of_the_modules_where_the_configuration_counts_something_else(folder: Path) -> None:
    """LongCat-Flash counts two layers of attention for each of its blocks."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 1024, "hidden_size": 32, "num_layers": 3, "num_attention_heads": 4, "ffn_hidden_size": 64}
    sizes |= {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "head_dim": 4}
    sizes |= {"v_head_dim": 8, "moe_topk": 2, "n_routed_experts": 4, "zero_expert_num": 2, "expert_ffn_hidden_size": 16}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("longcat_flash", **sizes))
    model.save_pretrained(folder)
    assert model.config.num_hidden_layers == 6
    assert read_facts(ModelConfig(path=str(folder))).n_blocks == 3
    with torch.inference_mode():
        torch.testing.assert_close(logits(folder), model.eval()(IDS).logits, rtol=0, atol=0)


@pytest.mark.parametrize("change", [lambda w: w[:-1], None], ids=["another shape", "missing"])
def test_experts_that_do_not_fit_each_other(change: Callable[[Tensor], Tensor] | None, folder: Path) -> None:
    """transformers puts them together, and says which are wrong in a report that it does not print."""
    make_model("mixtral").save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    one = weights.pop(name)
    rewrite(folder, lambda _: weights if change is None else weights | {name: change(one)})
    with pytest.raises(UnsupportedModelError, match="such as experts, do not fit each other: one is missing"):
        load(folder)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_both_names_of_gpt2_are_whole(prefix: str, folder: Path) -> None:
    """The Hub's own GPT-2 has the names of the class without a head, and masks in its blocks."""
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", vocab_size=1024, n_embd=32, n_layer=3, n_head=4)
    )
    model.save_pretrained(folder)
    rewrite(folder, renamed("transformer.", prefix))
    rewrite(folder, more(f"{prefix}h.1.attn.bias", shape=(1, 1, 8, 8)))
    with torch.inference_mode():
        torch.testing.assert_close(logits(folder), model.eval()(IDS).logits, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_architecture_is_refused(name: str, folder: Path) -> None:
    model = make_model(name)
    model.save_pretrained(folder)
    loaded = load(folder)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.stack.model(IDS).logits, model(IDS).logits, rtol=0, atol=1e-6)


def test_the_blocks_of_another_tower_are_not_the_decoders(folder: Path) -> None:
    """Both have as many."""
    text = {"vocab_size": 1024, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "query_pre_attn_scalar": 8}
    image = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    image |= {"image_size": 28, "patch_size": 14}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=image, mm_tokens_per_image=4)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    assert read_facts(ModelConfig(path=str(folder))).n_blocks == 3
    with torch.inference_mode():
        torch.testing.assert_close(logits(folder), model.eval()(IDS).logits, rtol=0, atol=0)
