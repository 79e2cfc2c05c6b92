"""A record as one flat row: the columns of the analysis' table of runs, of archives, and of W&B."""

from operator import attrgetter
from typing import Any

from deprune.record.schema import RunRecord

PLACES = {
    **{
        name: f"factors.{name}"
        for name in (
            "model", "budget", "calib_dataset", "objective", "calib_samples", "calib_seq_len", "search", "treatment",
            "calib_seed", "search_seed",
        )
    },
    "run_id": "run_id",
    "status": "status",
    "is_dense": "is_dense",
    "calib_config": "calib_config",
    "calib_tokens": "draw.n_tokens",
    "calib_sample_id": "draw.sample_id",
    "draw_id": "draw.draw_id",
    "n_blocks": "removal.n_blocks",
    "subset": "removal.subset",
    "subset_hash": "subset_hash",
    "unit": "removal.unit",
    "calib_value": "removal.loss",
    "calib_stderr": "removal.stderr",
    "calib_value_dense": "removal.dense_loss",
    "calib_accuracy": "removal.accuracy",
    "calib_accuracy_dense": "removal.dense_accuracy",
    "racing": "removal.racing",
    "accuracy": "scores.accuracy",
    "accuracy_dense": "scores.dense_accuracy",
    "n_evals": "cost.n_evals",
    "peak_memory_bytes": "cost.peak_memory_bytes",
    "model_revision": "provenance.model_revision",
}  # fmt: skip
"""Column -> its place in a record."""

_PLACED = attrgetter(*PLACES.values())


def columns_of(record: RunRecord) -> dict[str, Any]:
    """Returns the columns of a record, with values as they are in it."""
    search, cost, provenance = record.removal.search, record.cost, record.provenance
    return {
        **dict(zip(PLACES, _PLACED(record), strict=True)),
        "budget_frac": record.factors.budget / record.removal.n_blocks,
        "search_kind": None if search is None else search.kind,
        "search_order": None if search is None else search.order,
        "block_calls": cost.evaluations.get("block_calls"),
        "search_seconds": cost.seconds.get("search"),
        "device": provenance.environment.get("device"),
        "warnings": "\n".join(provenance.warnings),
        "scores_file": provenance.stores.get("downstream"),
    }
