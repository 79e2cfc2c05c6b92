"""Counted savings are those of the physically pruned model; speeds are measured."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from deprune.core.subset import BlockSubset
from deprune.downstream.efficiency import efficiency, measure_speed
from deprune.model.load import LoadedModel
from deprune.model.prune import prune_blocks
from tests.conftest import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_operations_are_those_of_the_pruned_model(
    family: str, embedded: Callable[[str], LoadedModel]
) -> None:
    loaded, subset = embedded(family), BlockSubset.of(12, [1, 6, 7])
    found = efficiency(loaded, subset, 64)
    for suffix, removed in (("", subset), ("_dense", BlockSubset(12))):
        model = copy.deepcopy(loaded.stack.model)
        prune_blocks(model, removed)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 64, dtype=torch.long))
        assert found[f"parameters{suffix}"] == model.num_parameters()
        assert found[f"flops_per_token{suffix}"] == pytest.approx(counter.get_total_flops() / 64)


def test_speed_is_measured_dense_and_pruned(embedded: Callable[[str], LoadedModel]) -> None:
    loaded = embedded("tiny_llama")
    speed = measure_speed(loaded, BlockSubset.of(12, range(2, 11)))
    assert set(speed) == {
        f"{phase}{suffix}_tokens_per_second" for phase in ("prefill", "decode") for suffix in ("", "_dense")
    }
    assert all(value > 0 for value in speed.values())
    assert loaded.stack.n_blocks == len(loaded.stack.model.get_decoder().layers) == 12, "the model is as it was"
