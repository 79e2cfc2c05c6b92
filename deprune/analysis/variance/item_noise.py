"""Noise of evaluation items: what it adds to components, from the answers of every model to every item.

All models answer the same items, so their errors are correlated and only what they do not share
acts on differences. A component is a quadratic form Q of the cells, so the noise that items add to it is
sum_i Q(x_i − mean) / (n (n − 1)) over n items: the form applied to each item's answers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deprune.analysis.read.parquet import answers_path
from deprune.analysis.read.responses import Response, rows_of
from deprune.analysis.read.results import Results
from deprune.analysis.types import Array, Generator
from deprune.analysis.variance.pairs import Pairs
from deprune.analysis.variance.panel import Panel
from deprune.core.errors import DataError

Scored: TypeAlias = tuple[str, str, str]
"""Task, metric and set of items."""

CHUNK = 256  # items that go through the components at once, to bound the memory


def load_items(results: Results, panel: Panel, chosen: Response) -> dict[str, Array]:
    """Reads what each run's pruned model was worth on every item.

    The values of the panel are those of the response, a mean over items.

    Returns:
        Task -> values, as of the rows of scores, such as 0 or 1, `(n_runs, n_items)`.

    Raises:
        DataError: The items of a run are not there, or not those behind its score.
    """
    if results.folder is None:
        raise DataError("These tables do not come from records, so the answers to single items are not there.")
    rows, read = panel.rows, dict[str, Mapping[Scored, Array]]()
    firsts = rows_of(results, chosen).drop_duplicates("task").astype({"task": str, "metric": str, "item_set": str})
    wanted: list[Scored] = sorted(zip(firsts["task"], firsts["metric"], firsts["item_set"], strict=True))
    answers: dict[str, list[Array]] = {task: [] for task, *_ in wanted}
    for run_id, file in rows["scores_file"].items():
        if not isinstance(file, str):
            raise DataError(f"The record of run {run_id} does not say where its items lie; run the job again.")
        if file not in read:
            read[file] = _read_items(answers_path(results.folder, file))
        for key in wanted:
            if key not in read[file]:
                raise DataError(f"{file} lacks the items of {key[0]} for run {run_id}; run the job again.")
            answers[key[0]].append(read[file][key])
    uneven = [task for task, items in answers.items() if len({len(i) for i in items}) > 1]
    if uneven:
        raise DataError(f"The runs have different numbers of items of {', '.join(uneven)}; run the jobs again.")
    stacked = {task: np.stack(items) for task, items in answers.items()}
    means = chosen.scale * np.mean([items.mean(axis=1) for items in stacked.values()], axis=0)
    if not np.allclose(means, panel.values, atol=1e-6):
        raise DataError(
            f"The items of run {rows.index[np.abs(means - panel.values).argmax()]} do not give the {chosen.kind} in "
            "its record; run the job again with force=true."
        )
    return stacked


def _read_items(path: Path) -> dict[Scored, Array]:
    """Returns the items in a file of scores, as of today or of schema 2."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return dict(row for key, entry in stored.items() for row in _items_of(key, entry))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"The items in {path} cannot be read ({error}); run the job again.") from error


def _items_of(key: str, entry: Any) -> Iterator[tuple[Scored, Array]]:
    if isinstance(entry, dict):  # of schema 2, under the task and the number of its first items
        task = key.rsplit(", first ", maxsplit=1)[0]
        for metric, scores in entry["metrics"].items():
            if "correct" in scores:
                bits = np.frombuffer(scores["correct"].encode(), dtype=np.uint8) - ord("0")
                yield (task, metric, entry["item_set"]), bits
        return
    for row in entry:
        items = np.asarray(row["items"])
        kind = np.uint8 if np.isin(items, (0, 1)).all() else float
        yield (row["task"], row["metric"], row["item_set"]), items.astype(kind)


@dataclass(frozen=True)
class ItemNoise:
    """What the sampling of items adds to the estimates of a panel of means over items.

    Attributes:
        answers: Task -> values, such as 0 or 1, `(n_runs, n_items)`.
        scale: What these are multiplied with to be in the unit of the response.
        products: What is added to the cross-replicate estimate of b b', `(n_cells, n_cells)` [unit²].
        seed: What is added to the seed variance [unit²].
    """

    answers: Mapping[str, Array]
    scale: float
    products: Array
    seed: float


def item_noise(panel: Panel, pairs: Pairs, answers: Mapping[str, Array], scale: float) -> ItemNoise:
    """Measures the noise of items on a panel of means over them, which are `scale` times the answers."""
    products, seed = np.zeros((panel.grid.n_cells, panel.grid.n_cells)), 0.0
    for correct in answers.values():
        n = correct.shape[1]
        weight = (scale / len(answers)) ** 2 / (n * (n - 1))
        means = correct.mean(axis=1, keepdims=True)
        for start in range(0, n, CHUNK):
            cubes = panel.cube(correct[:, start : start + CHUNK] - means)  # (items, r, n_cells)
            products += weight * pairs.products(cubes)
            seed += weight * float(pairs.seed_variance(cubes).sum())
    return ItemNoise(answers, scale, products, seed)


def resample_items(panel: Panel, noise: ItemNoise, n: int, rng: Generator) -> Array:
    """Returns the errors of cells when items are drawn again, the same ones for all models: `(n, n_seeds, n_cells)`."""
    errors = np.zeros((n, panel.n_seeds, panel.grid.n_cells))
    for correct in noise.answers.values():
        size = correct.shape[1]
        weights = (rng.multinomial(size, np.full(size, 1 / size), size=n) - 1).astype(np.float32) / size
        errors += noise.scale / len(noise.answers) * panel.cube(correct.astype(np.float32) @ weights.T)
    return errors
