"""Sweeps with a known answer, as real record files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deprune.analysis.variance.estimators import Estimate
from deprune.analysis.variance.panel import Panel
from deprune.record.legacy import METRICS
from deprune.record.schema import MetricRow
from deprune.record.store import ResultStore
from tests.test_record import make_record

LEVELS: dict[str, Sequence[Any]] = {
    "model": ("tiny_llama", "tiny_neox"),
    "budget": (3, 4),
    "calib_dataset": ("narratives", "facts", "arithmetic", "procedures"),
    "objective": ("nll",),
    "search": ("oneshot", "greedy", "beam", "ga", "bo"),
    "calib_seed": range(6),
}
N_BLOCKS = 12
DENSE = {"accuracy": 0.9, "perplexity": 1.5, "loss": 1.4}


@dataclass(frozen=True)
class Truth:
    """Standard deviations of what calibration, search and a draw do, and the correlation of the two outcomes.

    Attributes:
        agreement: 1 makes accuracy and perplexity rank searches alike, 0 independently.
        gain: Share of one-shot's loss that every other search wins back.
    """

    calibration: float = 1.0
    search: float = 1.0
    draw: float = 0.2
    run: float = 0.1
    agreement: float = 0.0
    gain: float = 0.0


def write_sweep(folder: Path, truth: Truth, levels: Mapping[str, Sequence[Any]] = LEVELS, seed: int = 0) -> None:
    """Writes one record per cell. What calibration and search do is the same in every model and budget."""
    levels = {**LEVELS, **levels}
    rng, store = np.random.default_rng(seed), ResultStore(folder)
    size = N_BLOCKS + 2  # an effect on every block's score, on perplexity and on accuracy
    calibs = list(itertools.product(levels["calib_dataset"], levels["objective"]))
    calib = dict(zip(calibs, truth.calibration * _contrasts(rng, len(calibs), size), strict=True))
    search = dict(zip(levels["search"], truth.search * _contrasts(rng, len(levels["search"]), size), strict=True))
    draws: dict[tuple[Any, ...], np.ndarray] = {}
    names = list(levels)
    for number, cell in enumerate(itertools.product(*levels.values())):
        at = dict(zip(names, cell, strict=True))
        key = tuple(at[name] for name in names if name != "search")
        draw = draws.setdefault(key, truth.draw * rng.standard_normal(size))
        effect = calib[at["calib_dataset"], at["objective"]] + search[at["search"]] + draw
        effect = effect + truth.run * rng.standard_normal(size)
        effect[-1] = truth.agreement * effect[-2] + (1 - truth.agreement) * effect[-1]
        store.put(_record(f"run{number}", at, effect, truth, key))


def _contrasts(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Effects of n levels that sum to zero and have variance 1 over levels."""
    effects = rng.standard_normal((n, size))
    effects -= effects.mean(axis=0)
    spread = np.sqrt((effects**2).mean(axis=0))
    return effects / np.where(spread > 0, spread, 1)


def _record(run_id: str, at: Mapping[str, Any], effect: np.ndarray, truth: Truth, key: tuple[Any, ...]) -> Any:
    removed = sorted(np.argsort(effect[:N_BLOCKS])[: at["budget"]].tolist())
    subset = "".join("1" if block in removed else "0" for block in range(N_BLOCKS))
    kept = 1.0 if at["search"] == "oneshot" else 1.0 - truth.gain
    damage = 0.1 * at["budget"] * kept
    perplexity = DENSE["perplexity"] + damage + 0.02 * effect[-2]
    share = DENSE["accuracy"] - damage - 0.02 * effect[-1]
    draw = "/".join(map(str, key))
    tasks = (("two_hop", 0.0), ("arithmetic", 0.01))
    searches = list(LEVELS["search"])
    return make_record(
        run_id=run_id, n_blocks=N_BLOCKS,
        identity={"search": {"name": at["search"], "protect_first": 0, "protect_last": 0}, "eval": {"limit": None}},
        calib_samples=64, calib_seq_len=128, calib_tokens=8192, calib_sample_id=draw, draw_id=draw, subset=subset,
        calib_value_dense=DENSE["loss"], calib_value=DENSE["loss"] + damage + 0.02 * effect[0], accuracy=share,
        accuracy_dense=DENSE["accuracy"],
        n_evals=10 ** (1 + searches.index(at["search"])) if at["search"] in searches else 5,
        metrics=(*(_row(task, "acc", share + shift, DENSE["accuracy"]) for task, shift in tasks),
                 _row("held_out", "log_perplexity", perplexity, DENSE["perplexity"])),
        **{"removal.order": tuple(removed)}, **at,
    )  # fmt: skip


def plain(panel: Panel) -> Estimate:
    """Squared coefficients of the cells' means: SS / N of the classical table, with the noise of seeds in it."""
    cube = panel.cube()
    b = panel.grid.coefficients(cube.mean(axis=-2)).reshape(-1, panel.grid.n_cells)
    seed = float(cube.var(axis=-2, ddof=1).mean(axis=-1).sum()) if panel.n_seeds > 1 else 0.0
    order = len(panel.grid.factors)
    return Estimate(grid=panel.grid, estimator="plain", products=b.T @ b, seed=seed, order=order, degrees=1)


def _row(task: str, metric: str, value: float, dense: float) -> MetricRow:
    stderr = math.sqrt(abs(value * (1 - value)) / 500) if metric == "acc" else 0.01
    return MetricRow(
        task=task, metric=metric, value=value, stderr=stderr, dense_value=dense, dense_stderr=0.01, n_items=500,
        item_set="i", version="1", higher_is_better=metric == "acc", chance=None, **METRICS[metric],
    )  # fmt: skip
