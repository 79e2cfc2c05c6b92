"""The longest sequence that a model reads, whatever its configuration calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from deprune.model.structure import width_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "max_seq_length", "n_ctx")

TABLES = ("pos", "wpe")
"""What the names of tables of learned positions hold."""


def context_of(settings: PretrainedConfig, model: PreTrainedModel) -> int | None:
    """Returns the longest sequence [tokens] that a configuration states, else the rows of a table of learned positions.

    None where there is no such limit, or none that can be seen.
    """
    for name in NAMES:
        if isinstance(stated := getattr(settings, name, None), int) and stated > 0:
            return stated
    tables = [
        module.num_embeddings
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.embedding_dim == width_of(model)
        if any(part in path.rpartition(".")[2] for part in TABLES)
    ]
    return min(tables, default=None)
