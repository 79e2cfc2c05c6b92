"""Noise of evaluation items: what it adds to components, from the answers of every model to every item.

All models answer the same items, so their errors are correlated and only what they do not share
acts on differences. A component is a quadratic form Q of the cells, so the noise that items add to it is
sum_i Q(x_i − mean) / (n (n − 1)) over n items: the form applied to each item's answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deprune.analysis.read.results import Results
from deprune.analysis.types import Array, Generator
from deprune.analysis.variance.estimators import seed_variance
from deprune.analysis.variance.panel import Panel
from deprune.core.errors import DataError

CHUNK = 256
"""Items that go through the components at once, to bound the memory."""


def load_items(results: Results, panel: Panel, tasks: tuple[str, ...]) -> dict[str, Array]:
    """Reads which items each run's pruned model answered correctly.

    Args:
        results: Where the runs are from.
        panel: The runs, with mean accuracies in percentage points.
        tasks: The tasks that the response is the mean of.

    Returns:
        Task -> 0 or 1, `(n_runs, n_items)`.

    Raises:
        DataError: The answers of a run are not there, or not those behind its accuracy.
    """
    if results.folder is None:
        raise DataError("These tables do not come from records, so the answers to single items are not there.")
    rows, read = panel.rows, dict[Path, Mapping[str, Array]]()
    answers: dict[str, list[Array]] = {task: [] for task in tasks}
    for run_id, folder, bits, limit in zip(
        rows.index, rows["downstream_folder"], rows["subset"], rows["eval_limit"], strict=True
    ):
        if not isinstance(folder, str):
            raise DataError(f"The record of run {run_id} does not say where its items lie; run the job again.")
        path = results.folder / "downstream" / Path(folder).name / f"{bits}.json"
        if path not in read:
            read[path] = _read_answers(path)
        for task in tasks:
            key = task if pd.isna(limit) else f"{task}, first {limit}"
            if key not in read[path]:
                raise DataError(f"{path} lacks the items of {key} for run {run_id}; run the job again.")
            answers[task].append(read[path][key])
    uneven = [task for task, correct in answers.items() if len({len(c) for c in correct}) > 1]
    if uneven:
        raise DataError(f"The runs have different numbers of items of {', '.join(uneven)}; run the jobs again.")
    stacked = {task: np.stack(correct) for task, correct in answers.items()}
    means = 100 * np.mean([correct.mean(axis=1) for correct in stacked.values()], axis=0)
    if not np.allclose(means, panel.values, atol=1e-6):
        raise DataError(
            f"The items of run {rows.index[np.abs(means - panel.values).argmax()]} do not give the accuracy in its "
            "record; run the job again with force=true."
        )
    return stacked


def _read_answers(path: Path) -> dict[str, Array]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            task: np.frombuffer(scores["metrics"]["acc"]["correct"].encode(), dtype=np.uint8) - ord("0")
            for task, scores in stored.items()
            if "acc" in scores["metrics"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"The items in {path} cannot be read ({error}); run the job again.") from error


@dataclass(frozen=True)
class ItemNoise:
    """What the sampling of items adds to the estimates of a panel of mean accuracies.

    Attributes:
        answers: Task -> 0 or 1, `(n_runs, n_items)`.
        products: What is added to the cross-replicate estimate of b b', `(n_cells, n_cells)` [points²].
        seed: What is added to the seed variance [points²].
    """

    answers: Mapping[str, Array]
    products: Array
    seed: float


def item_noise(panel: Panel, answers: Mapping[str, Array]) -> ItemNoise:
    """Measures the noise of items on a complete panel.

    Args:
        panel: A complete panel of mean accuracies in percentage points.
        answers: As `load_items` gives them.
    """
    r, n_cells = panel.n_seeds, panel.grid.n_cells
    products, seed = np.zeros((n_cells, n_cells)), 0.0
    for correct in answers.values():
        n = correct.shape[1]
        weight = (100 / len(answers)) ** 2 / (n * (n - 1))
        means = correct.mean(axis=1, keepdims=True)
        for start in range(0, n, CHUNK):
            cubes = panel.cube(correct[:, start : start + CHUNK] - means)  # (items, r, n_cells)
            b = panel.grid.coefficients(cubes)
            total, single = b.sum(axis=1), b.reshape(-1, n_cells)
            products += weight * (total.T @ total - single.T @ single) / (r * (r - 1))
            seed += weight * float(seed_variance(cubes).sum())
    return ItemNoise(answers, products, seed)


def resample_items(panel: Panel, noise: ItemNoise, n: int, rng: Generator) -> Array:
    """Returns the errors of the cells when items are drawn again, the same ones for all models.

    Returns:
        `(n, n_seeds, n_cells)` in percentage points.
    """
    errors = np.zeros((n, panel.n_seeds, panel.grid.n_cells))
    for correct in noise.answers.values():
        size = correct.shape[1]
        weights = (rng.multinomial(size, np.full(size, 1 / size), size=n) - 1).astype(np.float32) / size
        errors += 100 / len(noise.answers) * panel.cube(correct.astype(np.float32) @ weights.T)
    return errors
