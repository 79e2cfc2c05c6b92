"""Trains the embedded tokenizer and one of the tiny model families on the embedded corpora.

    python experiments/tiny/train.py tiny_llama

Writes `deprune/embedded/models/<family>/`: weights in bfloat16, configuration, tokenizer.
Seeded: the same machine, number of threads and versions give the same weights.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from deprune.core.subset import BlockSubset
from deprune.embedded.documents import documents
from deprune.model.prune import blocks_removed

MODELS = Path(__file__).parents[2] / "deprune" / "embedded" / "models"
END = "<|endoftext|>"
VOCAB = 1024
CONTEXT = 256
WIDTH = 64
N_BLOCKS = 12

SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 176,
    "num_hidden_layers": N_BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    # One over the square root of the width; the usual 0.02 suits widths of thousands, and
    # with it these small models did not learn to look names up in the text.
    "initializer_range": 0.125,
}
FAMILIES: dict[str, PretrainedConfig] = {
    "tiny_llama": LlamaConfig(**SHAPE, num_key_value_heads=4),
    # Normalised queries and keys, grouped key-value heads.
    "tiny_qwen3": Qwen3Config(**SHAPE, num_key_value_heads=2, head_dim=16),
    # Parallel residual branches, LayerNorm with biases, a plain two-matrix feed-forward part.
    "tiny_neox": GPTNeoXConfig(**{**SHAPE, "intermediate_size": 256}),
}

BATCH_TOKENS = 4096
PHASES = (("documents", 0.3), ("windows of 128", 0.85), ("windows of 256", 1.0))
"""What a training sequence is, until which share of the tokens: single documents first, since
looking things up is learned soonest where there is little else to look at."""


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE tokenizer, so that any text can be read, trained on all corpora."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.islice(documents("mixture", "train"), 20_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )


def batches(tokenizer: PreTrainedTokenizerFast, phase: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields endless batches of token ids and labels of a phase."""
    texts = ([*tokenizer.encode(text), tokenizer.eos_token_id] for text in documents("mixture", f"train, {phase}"))
    if phase == "documents":
        while True:
            rows = [torch.tensor(ids[:128]) for ids in itertools.islice(texts, 40)]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            yield ids, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    length = int(phase.rpartition(" ")[2])
    stream = itertools.chain.from_iterable(texts)
    while True:
        ids = torch.tensor(list(itertools.islice(stream, BATCH_TOKENS))).view(-1, length)
        yield ids, ids


def train(
    family: str, n_tokens: float, drop: float, peak_rate: float
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Returns a family trained on `n_tokens` tokens with stochastic depth, and its tokenizer.

    From the second phase on, every block is left out of a step with a probability that rises
    to `drop` (Huang et al., arXiv:1603.09382, with the same rate at every depth); this makes
    the model redundant in depth, as large models are.
    """
    torch.manual_seed(0)
    rng = random.Random(0)
    tokenizer = train_tokenizer()
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, betas=(0.9, 0.98))
    started, seen = time.monotonic(), 0
    for phase, until in PHASES:
        for ids, labels in batches(tokenizer, phase):
            progress = seen / n_tokens
            if progress >= until:
                break
            for group in optimizer.param_groups:
                group["lr"] = peak_rate * min(1.0, 50 * progress) * (0.52 + 0.48 * math.cos(math.pi * progress))
            chance = drop * min(1.0, max(0.0, 2 * progress - 0.6))
            dropped = [b for b in range(N_BLOCKS) if rng.random() < chance]
            with blocks_removed(model, BlockSubset.of(N_BLOCKS, dropped)):
                loss = model(ids, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if seen // 400_000 != (seen + ids.numel()) // 400_000:
                print(
                    f"{family}: {seen / 1e6:.1f}M tokens, loss {loss.item():.3f}, {time.monotonic() - started:.0f} s",
                    flush=True,
                )
            seen += ids.numel()
    return model.eval(), tokenizer


def main() -> None:
    """Trains and saves one family."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--tokens", type=float, default=10e6, help="training tokens")
    parser.add_argument("--drop", type=float, default=0.01, help="probability that a block is left out of a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    args = parser.parse_args()
    model, tokenizer = train(args.family, args.tokens, args.drop, args.rate)
    model.to(torch.bfloat16).save_pretrained(MODELS / args.family)
    tokenizer.save_pretrained(MODELS / args.family)


if __name__ == "__main__":
    main()
