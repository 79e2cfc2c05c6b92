"""Random models for benchmarks."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deprune.data.samples import CalibrationSet
from deprune.model.blocks import BlockStack


def random_llama(n_blocks: int, width: int, vocabulary: int, dtype: str = "float32", device: str = "cpu") -> BlockStack:
    """Returns a random Llama with grouped queries and a gated MLP of the usual proportions."""
    config = LlamaConfig(
        num_hidden_layers=n_blocks,
        hidden_size=width,
        intermediate_size=int(3.5 * width),
        num_attention_heads=max(1, width // 128) if width > 512 else 4,
        num_key_value_heads=max(1, width // 512) if width > 512 else 2,
        vocab_size=vocabulary,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype))
    return BlockStack(model)


def random_windows(n_samples: int, seq_len: int, vocabulary: int) -> CalibrationSet:
    """Returns windows of random tokens."""
    ids_RT = torch.randint(1, vocabulary, (n_samples, seq_len), generator=torch.Generator().manual_seed(0))
    return CalibrationSet(ids_RT, "random", "random")
