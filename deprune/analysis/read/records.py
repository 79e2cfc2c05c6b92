"""Files of a results folder as columns."""

import dataclasses
import json
import operator
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from deprune.analysis import design
from deprune.core.errors import DataError, RecordError
from deprune.core.suggestions import unknown_name
from deprune.record.columns import PLACES, columns_of
from deprune.record.schema import MetricRow
from deprune.record.store import read_record

SCORE_FIELDS = tuple(field.name for field in dataclasses.fields(MetricRow))

TEXTS = "run_id model subset_hash scorer task metric response unit item_set version".split()

CHUNK = 2000  # records that are turned into columns at once: millions of scores as objects would need gigabytes
PARALLEL_FROM = 5 * CHUNK  # number of records from which on starting processes is worth it

DUPLICATE = "duplicate"
EXCLUDED = ("damaged", "other schema", DUPLICATE, "not done")

PART = "identity:"  # before the columns of the parts of the identity, which `load` takes out again

_score_of = operator.attrgetter(*SCORE_FIELDS)


def members_of(folder: Path, sweep: str) -> frozenset[str]:
    """Returns the runs of a sweep.

    Raises:
        DataError: There is no such sweep.
    """
    sweeps = folder / "sweeps"
    known = [entry.name for entry in sweeps.iterdir()] if sweeps.is_dir() else []
    if sweep not in known:
        raise DataError(unknown_name(f"sweep in {folder}", sweep, known))
    outcomes = (json.loads(path.read_text(encoding="utf-8")) for path in (sweeps / sweep).rglob("outcome.json"))
    return frozenset(outcome["run_id"] for outcome in outcomes if outcome.get("run_id"))


def record_files(folder: Path, name: str, members: frozenset[str] | None) -> list[Path]:
    """Returns the files of a name in the folders of runs, in the order of their ids.

    Raises:
        DataError: There is no folder of runs.
    """
    runs = folder / "runs"
    if not runs.is_dir():
        raise DataError(f"There are no runs in {folder}; give the results_dir of a sweep.")
    names = [entry.name for entry in os.scandir(runs)] if members is None else members
    paths = (os.path.join(runs, run_id, name) for run_id in sorted(names))  # noqa: PTH118 - a tenth of a Path's time
    return [Path(path) for path in paths if os.path.isfile(path)]  # noqa: PTH113


def read_records(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Reads records, on all cores where there are many.

    Returns:
        One row per usable run, one per run, task and metric, and one per record that was left out.
    """
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    if len(paths) < PARALLEL_FROM:
        tables = [_read_chunk(chunk) for chunk in chunks]
    else:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            tables = list(pool.map(_read_chunk, chunks))
    columns = ["run_id", "why", *design.names()]
    left_out = pd.DataFrame([row for _, _, rows in tables for row in rows], columns=columns, dtype=object)
    tables = [table for table in tables if len(table[0])]
    if not tables:
        return pd.DataFrame(), pd.DataFrame(), left_out
    runs = pd.concat([runs for runs, _, _ in tables], ignore_index=True)
    scores = pd.concat([scores for _, scores, _ in tables], ignore_index=True)
    return runs, scores.astype(dict.fromkeys(TEXTS, "category")), left_out


def _read_chunk(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Any]]]:
    runs, left_out = [], []
    scores: list[tuple[Any, ...]] = []
    texts: dict[str, str] = {}
    own = {name: design.factor(name).place for name in design.names() if name not in PLACES}
    for path in paths:
        try:
            record = read_record(path)
        except (RecordError, TypeError, KeyError, OSError) as error:
            is_other = isinstance(error, RecordError) and error.__cause__ is None
            left_out.append(_left_out(path, "other schema" if is_other else "damaged"))
            continue
        if record.run_id != path.parent.name:
            left_out.append(_left_out(path, DUPLICATE))  # a copy: the record of a run lies in the folder of its name
        elif record.status != "done":
            left_out.append(_left_out(path, "not done"))
        else:
            runs.append(columns_of(record) | _parts_of(record.identity, texts))
            runs[-1] |= {name: design.value_at(record, place) for name, place in own.items()}
            key = (record.run_id, record.factors.model, runs[-1]["subset_hash"])
            scores += [(*key, *_score_of(row)) for row in record.scores.metrics]
    columns = ["run_id", "model", "subset_hash", *SCORE_FIELDS]
    return pd.DataFrame(runs), pd.DataFrame(scores, columns=columns), left_out


def read_failures(folder: Path, members: frozenset[str] | None) -> pd.DataFrame:
    """Returns one row per job that failed and was not done later, with whatever its report says."""
    rows = []
    for path in record_files(folder, "failure.json", members):
        if (path.parent / "record.json").is_file():
            continue  # a later attempt succeeded
        content = _read_object(path) or {"reason": "the report of the failure is damaged"}
        levels = content.get("factors")
        said = content | (levels if isinstance(levels, dict) else {})
        said = {k: v for k, v in said.items() if k not in design.names() and not isinstance(v, dict | list)}
        rows.append({**said, "run_id": path.parent.name} | design.levels_in(content))
    columns = ["run_id", "exception", "reason", "phase", *design.names()]
    failures = pd.DataFrame(rows, dtype=object)
    return failures.reindex(columns=list(dict.fromkeys([*columns, *failures.columns])))


def _left_out(path: Path, why: str) -> dict[str, Any]:
    return {"run_id": path.parent.name, "why": why} | design.levels_in(_read_object(path))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def _parts_of(identity: dict[str, Any], texts: dict[str, str]) -> dict[str, str]:
    """Returns the JSON text of each part; runs share most of theirs, and one text in `texts` serves them all."""
    found = {}
    for part, content in identity.items():
        key = repr(content)
        if (text := texts.get(key)) is None:
            text = texts[key] = json.dumps(content)
        found[PART + part] = text
    return found
