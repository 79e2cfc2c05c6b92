"""The tables behind the figures of patterns, against loops over pairs of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deprune.analysis import load
from deprune.analysis.patterns.consensus import chance_jaccard
from deprune.analysis.patterns.similarity import calibration_groups, removal_frequency, similarity
from tests.analysis.sweeps import N_BLOCKS, Truth, write_sweep


def blocks(subset: str) -> set[int]:
    return {i for i, bit in enumerate(subset) if bit == "1"}


def test_similarity_and_frequency_are_means_over_runs(tmp_path: Path) -> None:
    write_sweep(tmp_path, Truth(draw=1.0), {"calib_dataset": ("facts", "narratives"), "calib_seed": range(3)})
    results = load(tmp_path)
    runs = results.runs[(results.runs["model"] == "tiny_neox") & (results.runs["budget"] == 3)]
    table = similarity(results, {"model": "tiny_neox", "budget": 3})
    floor = chance_jaccard(N_BLOCKS, 3)
    for (c1, s1), (c2, s2) in [(("facts", "ga"), ("facts", "ga")), (("facts", "ga"), ("narratives", "oneshot"))]:
        first = runs[(runs["calib_dataset"] == c1) & (runs["search"] == s1)]["subset"]
        second = runs[(runs["calib_dataset"] == c2) & (runs["search"] == s2)]["subset"]
        pairs = [
            len(blocks(a) & blocks(b)) / len(blocks(a) | blocks(b))
            for i, a in first.items() for j, b in second.items() if i != j
        ]  # fmt: skip
        assert table.loc[(c1, s1), (c2, s2)] == pytest.approx((np.mean(pairs) - floor) / (1 - floor))
    assert np.allclose(table, table.T)
    frequency = removal_frequency(results, "tiny_neox").set_index(["budget", "calibration", "search", "block"])[
        "removed"
    ]
    chosen = runs[(runs["calib_dataset"] == "facts") & (runs["search"] == "ga")]["subset"]
    for block in range(N_BLOCKS):
        assert frequency[3, "facts", "ga", block] == pytest.approx(np.mean([s[block] == "1" for s in chosen]))


def test_labels_say_what_differs(tmp_path: Path) -> None:
    write_sweep(tmp_path, Truth(), {"model": ("tiny",), "budget": (3,), "calib_seed": (0,)})
    runs = load(tmp_path).runs
    assert set(calibration_groups(runs)) == {"narratives", "facts", "arithmetic", "procedures"}
    sizes = runs.assign(calib_samples=[8 * (1 + i % 2) for i in range(len(runs))])
    assert "facts n = 16" in set(calibration_groups(sizes))
    many = sizes.assign(calib_config=[f"c{i}" for i in range(len(runs))])
    assert set(calibration_groups(many)) == {"narratives", "facts", "arithmetic", "procedures"}
