"""Tiny random decoders of many architectures, for tests."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

N_BLOCKS = 4
VOCAB = 64

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": N_BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_HEADS: dict[str, Any] = {"head_dim": 8}
_GPT2: dict[str, Any] = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": N_BLOCKS, "n_head": 4, "n_positions": 64}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "mistral": _COMMON,
    "qwen2": {**_COMMON, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    "qwen3": _COMMON | _HEADS,
    "gemma2": _COMMON | _HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 4},
    "gemma3_text": _COMMON | _HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 4},
    "phi3": _COMMON,
    "olmo2": _COMMON,
    "granite": _COMMON | {"logits_scaling": 2.0, "residual_multiplier": 0.5},
    "gpt_neox": _COMMON,
    "gpt2": _GPT2,
    "gpt_neo": {
        **{k: _COMMON[k] for k in ("vocab_size", "hidden_size", "max_position_embeddings")},
        "num_layers": N_BLOCKS,
        "num_heads": 4,
        "attention_types": [[["global", "local"], N_BLOCKS // 2]],
        "window_size": 4,
    },
    "opt": {
        **{k: v for k, v in _COMMON.items() if k not in ("intermediate_size", "num_key_value_heads")},
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
    },
    "bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": N_BLOCKS, "n_head": 4},
    "falcon": _COMMON | {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    "mixtral": _COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "smollm3": _COMMON | {"no_rope_layer_interval": 2},
    "cohere2": _COMMON | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
}


def make_model(name: str) -> PreTrainedModel:
    """Returns a tiny random model; the same name gives the same weights."""
    torch.manual_seed(0)
    settings = dict(ARCHITECTURES[name])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **settings))
    for parameter in model.parameters():  # large enough that every block matters
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()
