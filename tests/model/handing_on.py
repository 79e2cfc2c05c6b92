"""A tiny decoder whose blocks hand on more than their hidden state, in whichever way a test asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from tests.model.architectures import VOCAB

N_BLOCKS, WIDTH = 6, 16


class ToyConfig(PretrainedConfig):
    model_type = "toy_decoder"

    def __init__(self, way: str = "nothing", **settings: Any) -> None:
        self.way, self.num_hidden_layers, self.hidden_size, self.vocab_size = way, N_BLOCKS, WIDTH, VOCAB
        super().__init__(**settings)


class ToyBlock(nn.Module):
    """Mixes each token with the mean of those before it, and with what its model's way of handing on gives."""

    def __init__(self, config: ToyConfig, index: int) -> None:
        super().__init__()
        self.way, self.layer_idx = config.way, index
        self.mix, self.value = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.kept: Tensor | None = None
        self.below: list[ToyBlock] = []

    def forward(self, x: Tensor, shared: dict[str, Any] | None = None, first: Tensor | None = None) -> Any:
        mean = x.cumsum(-2) / torch.arange(1, x.shape[-2] + 1)[:, None]
        change = torch.tanh(self.mix(torch.cat([x, mean], dim=-1)))
        if shared is not None:
            change = change + self._read(x, shared)
        if self.way == "value" and first is None:
            first = self.value(x)
        if first is not None:
            change = change + first
        if self.way == "in place":
            return x.add_(change)
        return (x + change, first) if self.way == "value" else x + change

    def _read(self, x: Tensor, shared: dict[str, Any]) -> Tensor:
        """What the block takes from others; it leaves something for them, too."""
        own = self.value(x)
        if self.way == "stores":  # 1 and 2 store, 4 and 5 read
            if self.layer_idx in (1, 2):
                shared[self.layer_idx % 2] = own
            return shared[self.layer_idx % 2] if self.layer_idx > 3 else own
        if self.way == "last":  # each even block stores, the next one reads what was stored last
            if self.layer_idx % 2 == 0:
                shared["last"] = own
            return shared.get("last", own)
        if self.way == "first":  # whichever comes first stores
            return shared.setdefault("first", own)
        if self.way == "attribute":  # block 0 keeps its state in itself, where block 4 finds it
            if self.layer_idx == 0:
                self.kept = own
            return self.below[0].kept if self.layer_idx == 4 else own  # type: ignore[return-value]
        if self.way == "all":  # each reads the mean of all before it
            states = shared.setdefault("all", [])
            states.append(own)
            return torch.stack(states).mean(0)
        return own


class ToyDecoder(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.embed, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
        self.wpe = nn.Embedding(40, WIDTH) if config.way == "table" else None
        self.blocks = nn.ModuleList(ToyBlock(config, index) for index in range(N_BLOCKS))
        for block in self.blocks:
            block.below = [*self.blocks]  # type: ignore[union-attr]
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        way, x = self.config.way, self.embed(input_ids)
        if way == "short":
            x = x + torch.zeros(1, 20, 1)[:, : x.shape[1]]  # as a table of 20 positions
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(x.shape[1]))
        if way == "copies":  # two hidden states for each token
            x = torch.stack([x, 2 * x])
        shared: dict[str, Any] = {}
        first = None
        rounds = 2 if way == "twice" else 1
        for _ in range(rounds):
            for index, block in enumerate(self.blocks):
                if way == "skips" and index in (1, 5):
                    continue
                if way == "value":
                    x, first = block(x, first=first)
                else:
                    x = block(x=x) if way == "named" else block(x, shared)
        return SimpleNamespace(logits=self.head(x[0] if way == "copies" else x))


def toy(way: str) -> ToyDecoder:
    """Returns a decoder of random weights, large enough that each block matters."""
    torch.manual_seed(0)
    model = ToyDecoder(ToyConfig(way))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()
