"""How far a search is from the best subset that there is.

Where every subset of a run's space has been evaluated on the run's samples (by `search=exhaustive`, or by
whatever jobs), the evaluation store holds the truth, and no model is run to compare with it:

    gap = (L(S) − L(S*)) / (mean of L over the space − L(S*))

0 is optimal; 1 is what a uniformly random subset has on average. Source: own.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from deprune.core.errors import DataError
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.record.columns import columns_of
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore

Losses: TypeAlias = dict[tuple[int, ...], float]
"""Removed blocks -> loss."""


def optimality_gaps(results_dir: Path) -> pd.DataFrame:
    """Returns one row for each run whose space is wholly evaluated.

    Columns: run_id, model, calib_config, calib_seed, objective, search, search_seed, budget, n_subsets (size of
    the space), loss, best_loss, chance_loss (mean over the space), gap, rank (1 is the best subset).

    Raises:
        DataError: There is no run, or none such.
    """
    records = [r for r in ResultStore(results_dir).records() if not r.is_dense]
    if not records:
        raise DataError(f"There are no runs of pruned models in {results_dir}; give the results_dir of a sweep.")
    store = cache(EvaluationStore)  # each is read once, and kept for as long as this runs
    losses = cache(lambda folder, samples, budget: _losses(store(folder), samples, budget))
    rows = [row for record in records if (row := _gap(record, results_dir / "evaluations", losses)) is not None]
    if not rows:
        raise DataError(
            f"None of the {len(records)} runs in {results_dir} can be compared with the best subset; run the same "
            "model, calibration and budget with search=exhaustive first."
        )
    return pd.DataFrame(rows)


def _gap(record: RunRecord, evaluations: Path, losses_of: Callable[..., Losses]) -> dict[str, object] | None:
    search, stores, budget = record.identity["search"], record.provenance.stores, record.factors.budget
    n_blocks = record.removal.n_blocks
    last = range(n_blocks - search["protect_last"], n_blocks)
    space = SearchSpace(n_blocks, budget, frozenset({*range(search["protect_first"]), *last, *record.removal.fixed}))
    known = losses_of(evaluations / stores["evaluations"], stores["samples"], budget)
    losses = np.array([loss for removed, loss in known.items() if BlockSubset(n_blocks, removed) in space])
    if len(losses) < space.size:
        return None
    loss = known[tuple(sorted(record.removal.order))]
    best, chance = losses.min(), losses.mean()
    columns = columns_of(record)
    names = "run_id model calib_config calib_seed objective search search_seed budget".split()
    row = {name: columns[name] for name in names} | {"n_subsets": space.size, "loss": loss}
    gap = (loss - best) / (chance - best) if chance > best else 0.0
    return row | {"best_loss": best, "chance_loss": chance, "gap": gap, "rank": int((losses < loss).sum()) + 1}


def _losses(store: EvaluationStore, samples: str, budget: int) -> Losses:
    """Returns the losses of all subsets of a size that are known on all of some samples."""
    keys = store.keys_of(samples) or []
    found = {}
    for bits in store.subsets():
        if bits.count("1") == budget:
            known = store.get(bits)
            if keys and all(key in known for key in keys):
                sums, counts = zip(*(known[key] for key in keys), strict=True)
                found[tuple(i for i, bit in enumerate(bits) if bit == "1")] = sum(sums) / sum(counts)
    return found


def gaps_by_search(gaps: pd.DataFrame) -> pd.DataFrame:
    """Returns, for each search, the number of runs, how many are optimal, and mean, median and largest gap."""
    grouped = gaps.assign(optimal=gaps.gap == 0).groupby("search")
    table = grouped.agg(
        runs=("gap", "size"), optimal=("optimal", "mean"), mean=("gap", "mean"), median=("gap", "median"),
        largest=("gap", "max"),
    )  # fmt: skip
    return table.sort_values(["mean", "largest"])
