"""Records of schema 2, as the first edition wrote them, in the form of today's."""

from typing import Any

from deprune.core.fingerprint import file_name_of
from deprune.core.kinds import Guarantee, Kind
from deprune.record.schema import ACCURACY, LOG_PERPLEXITY, NATS_PER_TOKEN, SCHEMA_VERSION, SHARE, UNTREATED

VERSION = 2

EXACT, ONE, ONESHOT, TIES = (
    Guarantee.EXACT, Guarantee.EXACT_FOR_ONE_BLOCK, Guarantee.NEVER_WORSE_THAN_ONESHOT, Guarantee.TIES_TO_LOWER_BLOCKS,
)  # fmt: skip

SEARCHES: dict[str, tuple[Kind, tuple[Guarantee, ...]]] = {
    "random": (Kind.CONTROL, ()),
    "last": (Kind.CONTROL, ()),
    "angular": (Kind.SIMPLE, ()),
    "shortgpt": (Kind.SIMPLE, ()),
    "oneshot": (Kind.SIMPLE, (ONE, ONESHOT, TIES)),
    "fast_block_select": (Kind.COMPLEX, ()),
    "greedy": (Kind.COMPLEX, (ONE, TIES)),
    "beam": (Kind.COMPLEX, (ONE, TIES)),
    "local": (Kind.COMPLEX, (ONE, ONESHOT, TIES)),
    "ga": (Kind.COMPLEX, (ONE, ONESHOT, TIES)),
    "evopress": (Kind.COMPLEX, (ONE,)),
    "bo": (Kind.COMPLEX, (ONE, ONESHOT, TIES)),
    "cbo": (Kind.COMPLEX, (ONE, TIES)),
    "exhaustive": (Kind.REFERENCE, (EXACT, ONE, ONESHOT, TIES)),
}
"""What the searches of that time would have said of themselves, in the order of tables; others count as complex."""

METRICS: dict[str, dict[str, Any]] = {
    "acc": {"scorer": "choices", "response": ACCURACY, "unit": SHARE},
    "acc_norm": {"scorer": "choices", "response": None, "unit": SHARE},
    "log_perplexity": {"scorer": "perplexity", "response": LOG_PERPLEXITY, "unit": NATS_PER_TOKEN},
}
"""What rows did not say then."""

COUNTED = {"parameters": "parameters", "flops_per_token": "FLOP/token"}


def upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a record of schema 2 as that of a record of today.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is not of its type.
        ValueError: There is a field too many.
    """
    old = dict(old)
    take, measured = old.pop, dict(old.pop("measured"))
    budget, search, subset = old["budget"], old["search"], old["subset"]
    new = {
        "schema_version": SCHEMA_VERSION,
        **{name: take(name) for name in ("run_id", "status", "identity")},
        "factors": {
            **{
                name: take(name)
                for name in (
                    "model", "budget", "calib_dataset", "objective", "calib_samples", "calib_seq_len", "search",
                    "calib_seed", "search_seed",
                )
            },
            "treatment": UNTREATED,
        },
        "draw": {
            "sample_id": take("calib_sample_id"),
            "token_hash": take("calib_token_hash"),
            "draw_id": take("draw_id"),
            "n_tokens": take("calib_tokens"),
        },
        "removal": {
            **{name: take(name) for name in ("n_blocks", "subset", "unit", "trace", "racing")},
            "order": take("removed"),
            "loss": take("calib_value"),
            "stderr": take("calib_stderr"),
            "dense_loss": take("calib_value_dense"),
            "accuracy": take("calib_accuracy"),
            "dense_accuracy": take("calib_accuracy_dense"),
            "search": search_facts(search) if budget else None,
        },
        "scores": {
            "metrics": [*map(_metric, take("metrics")), *_counted(take("efficiency"), measured.pop("speed", {}))],
            "accuracy": take("accuracy"),
            "dense_accuracy": take("accuracy_dense"),
        },
        "cost": {
            "n_evals": take("n_evals"),
            **{name: measured.pop(name) for name in ("evaluations", "seconds", "peak_memory_bytes")},
        },
        "provenance": {
            **{name: take(name) for name in ("model_path", "model_revision", "warnings", "environment")},
            "stores": _stores(take("stores"), subset),
            "written_at": measured.pop("written_at"),
        },
    }  # fmt: skip
    for derived in ("schema_version", "calib_config", "budget_frac", "is_dense", "subset_hash"):
        take(derived)
    if left := [*old, *measured]:
        raise ValueError(f"unknown fields: {', '.join(left)}")
    return new


def search_facts(name: str) -> dict[str, Any]:
    """Returns what a search of that time would have said of itself."""
    kind, guarantees = SEARCHES.get(name, (Kind.COMPLEX, ()))
    order = [*SEARCHES].index(name) if name in SEARCHES else len(SEARCHES)
    return {"kind": kind.value, "version": 1, "guarantees": [g.value for g in guarantees], "order": order}


def _metric(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **METRICS[row["metric"]], "chance": None}


def _counted(efficiency: dict[str, float], speed: dict[str, float]) -> list[dict[str, Any]]:
    units = COUNTED | {name: "token/s" for name in speed if "_dense_" not in name}
    dense = {name: f"{name}_dense" for name in COUNTED} | {n: n.replace("_tokens", "_dense_tokens") for n in speed}
    values = efficiency | speed
    return [
        {
            "scorer": "efficiency", "task": "model", "metric": name, "response": None, "value": values[name],
            "stderr": None, "dense_value": values[dense[name]], "dense_stderr": None, "unit": unit,
            "higher_is_better": unit == "token/s", "chance": None, "n_items": 0, "item_set": "", "version": "1",
        }
        for name, unit in units.items()
    ]  # fmt: skip


def _stores(stores: dict[str, str], subset: str) -> dict[str, str]:
    return {**stores, "downstream": f"{file_name_of(stores['downstream'])}/{file_name_of(subset)}.json"}
