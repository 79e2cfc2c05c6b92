"""Tiny random decoders of many architectures, for tests."""

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

_MOE: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "decoder_sparse_step": 1,
}
_SLIDING: dict[str, Any] = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
_STATE_SPACE: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": N_BLOCKS, "state_size": 8}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Dense attention of one kind.
    **dict.fromkeys(("llama", "mistral", "phi", "phi3", "olmo", "olmo2", "stablelm", "starcoder2", "cohere"), _COMMON),
    **dict.fromkeys(("gpt_neox", "nemotron", "ernie4_5", "arcee", "persimmon", "biogpt"), _COMMON),
    **dict.fromkeys(("qwen3", "gemma", "helium", "glm", "glm4", "seed_oss", "hunyuan_v1_dense"), _COMMON | _HEADS),
    "granite": _COMMON | {"logits_scaling": 2.0, "residual_multiplier": 0.5},
    "smollm3": _COMMON | {"no_rope_layer_interval": 2},
    "falcon": _COMMON | {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    # Windows that slide in some blocks; soft-capped logits in Gemma 2.
    "qwen2": _COMMON | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    "gemma2": _COMMON | _HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 4},
    "gemma3_text": _COMMON | _HEADS | {"query_pre_attn_scalar": 8, "sliding_window": 4},
    "cohere2": _COMMON | _SLIDING,
    "olmo3": _COMMON | _SLIDING,
    "exaone4": _COMMON | _SLIDING,
    # Other names for the same settings; learned positions, ALiBi.
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gptj": _GPT2 | {"rotary_dim": 4},
    "codegen": _GPT2 | {"rotary_dim": 4, "n_ctx": 64},
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
    "mpt": {"vocab_size": VOCAB, "d_model": 32, "n_layers": N_BLOCKS, "n_heads": 4, "max_seq_len": 64},
    "xglm": {
        "vocab_size": VOCAB,
        "d_model": 32,
        "num_layers": N_BLOCKS,
        "attention_heads": 4,
        "ffn_dim": 48,
        "max_position_embeddings": 64,
    },
    # Mixtures of experts.
    **dict.fromkeys(("mixtral", "qwen2_moe", "olmoe", "granitemoe", "phimoe"), _COMMON | _MOE),
    "qwen3_moe": _COMMON | _HEADS | _MOE,
    "gpt_oss": _COMMON | _HEADS | _MOE | _SLIDING,
    "deepseek_v3": {
        **_COMMON,
        **_MOE,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "first_k_dense_replace": 0,
    },
    # State spaces, recurrence, and hybrids of these with attention.
    "mamba": _STATE_SPACE,
    "falcon_mamba": _STATE_SPACE,
    "mamba2": _STATE_SPACE | {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "rwkv": {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": N_BLOCKS, "context_length": 64},
    "recurrent_gemma": {
        **_COMMON,
        "lru_width": 32,
        "attention_window_size": 8,
        "block_types": ["recurrent", "attention"],
    },
    "lfm2": _COMMON | {"layer_types": ["conv", "full_attention"] * 2},
    "minimax": _COMMON | _MOE | {"layer_types": ["linear_attention", "full_attention"] * 2, "block_size": 8},
    "bamba": {
        **_COMMON,
        "attn_layer_indices": [1, 3],
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 8,
    },
    "falcon_h1": {
        **_COMMON,
        **_HEADS,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 8,
    },
    "qwen3_next": {
        **_COMMON,
        **_HEADS,
        **_MOE,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
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
