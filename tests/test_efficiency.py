"""Counted savings are those of the physically pruned model; speeds are measured."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data.heldout import window_length
from deprune.downstream.efficiency import Efficiency
from deprune.model.load import LoadedModel
from deprune.model.prune import prune_blocks
from deprune.model.pruned import PrunedModel
from tests.conftest import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_operations_are_those_of_the_pruned_model(
    family: str, embedded: Callable[[str], LoadedModel]
) -> None:
    loaded, subset = embedded(family), BlockSubset.of(12, [1, 6, 7])
    models = [PrunedModel(loaded, s) for s in (subset, BlockSubset(12))]
    length = window_length(loaded.facts.context)
    for pruned, (parameters, flops) in zip(models, Efficiency().score("model", models, Memory()), strict=True):
        model = copy.deepcopy(loaded.stack.model)
        prune_blocks(model, pruned.subset)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, length, dtype=torch.long))
        assert (parameters.metric, parameters.value) == ("parameters", model.num_parameters())
        assert (flops.metric, flops.value) == ("flops_per_token", pytest.approx(counter.get_total_flops() / length))


def test_speed_is_measured_dense_and_pruned(embedded: Callable[[str], LoadedModel]) -> None:
    loaded = embedded("tiny_llama")
    models = [PrunedModel(loaded, s) for s in (BlockSubset.of(12, range(2, 11)), BlockSubset(12))]
    for rows in Efficiency(speed=True).score("model", models, Memory()):
        speeds = {row.metric: row.value for row in rows if row.unit == "token/s"}
        assert set(speeds) == {"prefill_tokens_per_second", "decode_tokens_per_second"}
        assert all(value > 0 for value in speeds.values())
    assert loaded.stack.n_blocks == len(loaded.stack.model.get_decoder().layers) == 12, "the model is as it was"
