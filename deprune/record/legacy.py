"""Records of schema 2, as the first edition wrote them, in the form of today's."""

from typing import Any

from deprune.core.fingerprint import file_name_of
from deprune.core.kinds import Guarantee, Kind
from deprune.record.columns import PLACES
from deprune.record.schema import ACCURACY, LOG_PERPLEXITY, NATS_PER_TOKEN, SCHEMA_VERSION, SHARE, UNTREATED

VERSION = 2

OTHER_PLACES = {
    "identity": "identity",
    "calib_token_hash": "draw.token_hash",
    "removed": "removal.order",
    "trace": "removal.trace",
    "evaluations": "cost.evaluations",
    "seconds": "cost.seconds",
    "model_path": "provenance.model_path",
    "warnings": "provenance.warnings",
    "environment": "provenance.environment",
    "written_at": "provenance.written_at",
}
"""Field of that time that is no column -> its place in a record of today."""

DERIVED = {"schema_version", "calib_config", "budget_frac", "is_dense", "subset_hash"}

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


def upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a record of schema 2 as that of a record of today.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is not of its type.
        ValueError: There is a field too many.
    """
    old = {**old, **old["measured"], "treatment": UNTREATED}
    speed = old.pop("speed", {})
    new: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for name, place in (PLACES | OTHER_PLACES).items():
        part, _, field = place.rpartition(".")
        value = old.pop(name)
        if name not in DERIVED:
            (new.setdefault(part, {}) if part else new)[field] = value
    new["removal"]["search"] = search_facts(new["factors"]["search"]) if new["factors"]["budget"] else None
    rows = [{**row, **METRICS[row["metric"]], "chance": None} for row in old.pop("metrics")]
    new["scores"]["metrics"] = [*rows, *_counted(old.pop("efficiency") | speed)]
    stores, subset = old.pop("stores"), new["removal"]["subset"]
    file = f"{file_name_of(stores['downstream'])}/{file_name_of(subset)}.json"
    new["provenance"]["stores"] = {**stores, "downstream": file}
    if left := {*old} - DERIVED - {"measured"}:
        raise ValueError(f"unknown fields: {', '.join(left)}")
    return new


def search_facts(name: str) -> dict[str, Any]:
    """Returns what a search of that time would have said of itself."""
    kind, guarantees = SEARCHES.get(name, (Kind.COMPLEX, ()))
    order = [*SEARCHES].index(name) if name in SEARCHES else len(SEARCHES)
    return {"kind": kind.value, "version": 1, "guarantees": [g.value for g in guarantees], "order": order}


def _counted(values: dict[str, float]) -> list[dict[str, Any]]:
    """Returns rows of what was counted and timed then, of which `<name>_dense` was the dense model's."""
    dense = {name.replace("_dense", ""): value for name, value in values.items() if "_dense" in name}
    units = {"parameters": "parameters", "flops_per_token": "FLOP/token"}
    return [
        {
            "scorer": "efficiency", "task": "model", "metric": name, "response": None, "value": values[name],
            "stderr": None, "dense_value": value, "dense_stderr": None, "unit": units.get(name, "token/s"),
            "higher_is_better": name not in units, "chance": None, "n_items": 0, "item_set": "", "version": "1",
        }
        for name, value in dense.items()
    ]  # fmt: skip
