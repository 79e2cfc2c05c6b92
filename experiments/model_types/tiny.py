"""A tiny random model of any type of transformers, made from its own defaults.

What is a size becomes small; a list with one entry per block keeps the kinds of its defaults, in turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

N_BLOCKS = 6
VOCABULARY = 1024

_WIDTHS = "hidden_size d_model n_embd embedding_size embedding_dim lru_width word_embed_proj_dim input_embedding_size"
_INNER = (
    "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim d_inner dim_ff dff n_inner ffn_hidden_size "
    "feed_forward_size"
)
_EXPERTS_INNER = (
    "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size "
    "intermediate_size_mlp dense_intermediate_size shared_experts_intermediate_size moe_shared_expert_intermediate_size"
)
_DEPTHS = (
    "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers num_encoder_layers "
    "num_blocks"
)
_HEADS = "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads encoder_attention_heads"
_KV_HEADS = "num_key_value_heads num_kv_heads"
_EXPERTS = "num_experts num_local_experts n_routed_experts moe_num_experts zero_expert_num"
_CHOSEN = "num_experts_per_tok num_experts_per_token moe_topk moe_k index_topk"
_EIGHTS = (
    "head_dim d_head dim_head kv_channels v_head_dim qk_nope_head_dim q_lora_rank kv_lora_rank index_head_dim "
    "rotary_dim state_size "
    "ssm_state_size mamba_d_state linear_key_head_dim linear_value_head_dim linear_head_dim mamba_d_head "
    "swa_head_dim attention_head_size global_head_dim attention_head_dim mamba_head_dim o_lora_rank "
    "hidden_size_per_layer_input"
)
_CONTEXTS = "max_position_embeddings n_positions n_ctx max_seq_len context_length model_max_length max_target_positions"
_WINDOWS = "sliding_window window_size attention_window_size sliding_window_size local_attention attention_chunk_size"

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **dict.fromkeys(_WIDTHS.split(), 32),
    **dict.fromkeys(_INNER.split(), 48),
    **dict.fromkeys(_EXPERTS_INNER.split(), 16),
    **dict.fromkeys(_DEPTHS.split(), N_BLOCKS),
    **dict.fromkeys(_HEADS.split(), 4),
    **dict.fromkeys(_KV_HEADS.split(), 2),
    **dict.fromkeys(_EXPERTS.split(), 4),
    **dict.fromkeys(_CHOSEN.split(), 2),
    **dict.fromkeys(_EIGHTS.split(), 8),
    **dict.fromkeys(_CONTEXTS.split(), 256),
    **dict.fromkeys(_WINDOWS.split(), 8),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    **dict.fromkeys(("n_group", "num_expert_group"), 2),
    **dict.fromkeys(("topk_group", "first_k_dense_replace", "num_dense_layers"), 1),
    **dict.fromkeys(("block_size", "chunk_size", "mamba_chunk_size"), 8),
    "qk_rope_head_dim": 4,
    "index_n_heads": 4,
    "vocab_size_per_layer_input": VOCABULARY,
    "is_decoder": True,
    "output_embedding_size": 32,
}
"""Setting -> its value in a tiny model, where the type has the setting."""

_LATENT = {"head_dim": 4, "num_key_value_heads": 4}
_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1}

BY_TYPE: dict[str, dict[str, Any]] = {
    "bamba": _MAMBA | {"attn_layer_indices": [1, 4]},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"] * (N_BLOCKS // 2)},
    "cohere_compass_text": {
        "rope_parameters": {
            k: {"rope_type": "default", "rope_theta": 1e4} for k in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48},
    },
    "deepseek_v2": {"n_group": 2, "topk_group": 1, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "dots3_note_text": {"head_dim": 12, "per_layer_config": {}},
    "gemma3n_text": {
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * (N_BLOCKS // 2),
        "activation_sparsity_pattern": [0.0] * N_BLOCKS,
        "laurel_rank": 4,
    },
    "gemma4_text": {"hidden_size_per_layer_input": 0},
    "gemma4_unified_text": {"hidden_size_per_layer_input": 0},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (N_BLOCKS // 2)},
    "mamba2": {"num_heads": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen4_exp": _INDEXER,
    "qwen4_exp_text": _INDEXER,
    "reformer": {"is_decoder": True, "axial_pos_embds": False},
    "roc_bert": {"pronunciation_vocab_size": 32, "shape_vocab_size": 32},
    "xlm": {"n_embd": 32, "emb_dim": 32},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
"""Type -> settings without which its tiny model cannot be made or would be no typical one."""


def settings_of(default: PretrainedConfig) -> dict[str, Any]:
    """Returns the settings that make a tiny configuration of a default one, nested as its parts are."""
    own = {name: value for name, value in SMALL.items() if default.__dict__.get(name) is not None}
    parts = {k: v for k, v in default.__dict__.items() if isinstance(v, PretrainedConfig)}
    per_block = {k: in_turns(v) for k, v in default.__dict__.items() if is_per_block(v, default)}
    nested = {k: settings_of(v) | BY_TYPE.get(v.model_type, {}) for k, v in parts.items()}
    latent = _LATENT if "qk_rope_head_dim" in default.__dict__ else {}
    return per_block | own | latent | nested


def is_per_block(value: Any, default: PretrainedConfig) -> bool:
    """Whether a default has one entry for each block."""
    return isinstance(value, list | tuple) and len(value) == getattr(default, "num_hidden_layers", -1)


def in_turns(values: Any) -> list[Any]:
    """Returns the distinct entries of a list, repeated until there is one per block."""
    kinds = list(dict.fromkeys(values))
    return [kinds[i % len(kinds)] for i in range(N_BLOCKS)]


def make_tiny(kind: str, **more: Any) -> PreTrainedModel:
    """Returns a tiny random model of a type; the same arguments give the same weights."""
    torch.manual_seed(0)
    by_type: Mapping[str, Any] = BY_TYPE.get(kind, {})
    try:
        default = CONFIG_MAPPING[kind]()
    except Exception:
        default = CONFIG_MAPPING[kind](**by_type)
    config = CONFIG_MAPPING[kind](**settings_of(default) | by_type | more)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # large enough that every block matters
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()
