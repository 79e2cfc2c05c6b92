"""Runs made from a known truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from deprune.analysis.design import factors_of
from deprune.analysis.read.published import with_search_facts
from deprune.analysis.read.results import Results, typed
from deprune.analysis.variance.factor_grid import Grid
from deprune.record.legacy import METRICS

LEVELS: dict[str, Sequence[object]] = {
    "model": ("m0", "m1", "m2"),
    "budget": (7, 9),
    "calib_dataset": ("c4", "wikitext", "code", "facts"),
    "objective": ("nll", "task_margin"),
    "calib_samples": (64,),
    "calib_seq_len": (128,),
    "search": ("oneshot", "greedy", "beam", "ga", "bo", "cbo", "random"),
}


def make_runs(
    levels: Mapping[str, Sequence[object]] = LEVELS, n_seeds: int = 3, own_draws: bool = False
) -> pd.DataFrame:
    """One row per cell and seed. A draw belongs to (model, dataset, seed), or to every cell of a search's rivals."""
    levels = {**LEVELS, **levels}
    frame = pd.DataFrame(itertools.product(*levels.values(), range(n_seeds)), columns=[*levels, "calib_seed"])
    shared = ["model", "calib_dataset", "calib_seed"] + (["budget", "objective"] if own_draws else [])
    frame["calib_sample_id"] = ["/".join(map(str, row)) for row in frame[shared].to_numpy()]
    frame["draw_id"] = frame["calib_sample_id"]
    parts = ["objective", "calib_dataset", "calib_samples", "calib_seq_len"]
    frame["calib_config"] = [" ".join(map(str, row)) for row in frame[parts].to_numpy()]
    frame = frame.assign(
        run_id=[f"r{i}" for i in range(len(frame))], search_seed=pd.NA, is_dense=False, status="done", unit="nat/token",
        device="CPU", model_revision="1", subset=pd.NA, subset_hash=pd.NA, calib_value=np.nan,
        calib_value_dense=0.0, accuracy=np.nan, n_blocks=32,
    )  # fmt: skip
    frame = typed(with_search_facts(frame).set_index("run_id"))
    for name in factors_of(frame):
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].cat.set_categories([level for level in levels[name] if level in set(frame[name])])
    return frame


def make_results(runs: pd.DataFrame, accuracy: np.ndarray) -> Results:
    """Results with one task, whose accuracy [%] is given."""
    scores = pd.DataFrame(
        {
            "run_id": runs.index, "model": runs["model"].to_numpy(), "task": "task", "metric": "acc",
            "value": accuracy / 100, "stderr": 0.01, "dense_value": 1.0, "n_items": 100, "item_set": "i",
            "chance": np.nan, "higher_is_better": True, **METRICS["acc"],
        }
    )  # fmt: skip
    return Results(runs=runs.assign(accuracy=accuracy), scores=scores, excluded={})


def make_cells(grid: Grid, truth: Mapping[tuple[str, ...], float], rng: np.random.Generator) -> np.ndarray:
    """Cell values whose components are exactly those given."""
    b = np.zeros(grid.n_cells)
    for term, component in truth.items():
        columns = grid.term_of == grid.terms.index(term)
        direction = rng.standard_normal(columns.sum())
        b[columns] = direction / np.linalg.norm(direction) * np.sqrt(component)
    return grid.design(len(grid.factors))[0] @ b
