"""Records as tidy tables: one row per run, and one row per run, task and metric.

This package reads what jobs leave behind and never imports torch.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.identity import Identities, text_of
from deprune.analysis.read.parquet import folder_of
from deprune.analysis.read.records import EXCLUDED, PART, members_of, read_failures, read_records, record_files
from deprune.core.errors import AnalysisError, DataError
from deprune.core.suggestions import unknown_name

log = logging.getLogger(__name__)

PERCENT = ["calib_accuracy", "calib_accuracy_dense", "accuracy", "accuracy_dense"]
"""Columns that are shares in records and per cent in tables."""

TEXTS = ("calib_config", "status", "unit", "device")
"""Columns that are categories, beside the factors whose levels are names."""

DTYPES = {
    "Int16": "n_blocks budget search_order",
    "Int32": "calib_samples calib_seq_len",
    "Int64": "calib_tokens calib_seed search_seed n_evals block_calls peak_memory_bytes",
    "float64": "budget_frac calib_value calib_stderr calib_value_dense search_seconds " + " ".join(PERCENT),
    "bool": "is_dense racing",
}


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a results folder holds, as tables.

    Attributes:
        runs: One row per run, indexed by `run_id`. Accuracies are in per cent, losses in `unit`;
            `subset` has one digit per block. Factors are categories, whose declared levels
            include those of failed jobs.
        scores: One row per run, task and metric, with the fields of `MetricRow` as they are in the record.
        excluded: Number of records left out, by reason: `damaged`, `other schema`, `duplicate`,
            `not done`, `failed`.
        failures: One row per failed job: its factors, exception and reason.
        left_out: One row per record that was left out: `why`, and its factors where it says them.
        folder: The results folder; None for tables that come from elsewhere.
        identities: What the runs are a function of; None for such tables.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    excluded: dict[str, int]
    failures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run_id", "reason", *design.names()]))
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run_id", "why", *design.names()]))
    folder: Path | None = None
    identities: Identities | None = None

    @property
    def summary(self) -> str:
        """One sentence: how many runs there are and what was left out."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.excluded.items() if count)
        return f"{len(self.runs)} runs read; left out: {left_out or 'nothing'}."

    def where(self, levels: Mapping[str, Any]) -> "Results":
        """Returns the runs at given levels, such as `{"objective": "nll", "budget": [7, 9]}`.

        Args:
            levels: Column of runs or entry of their identity, such as `eval.limit` -> level or levels to keep. Runs
                that lack an entry, as dense runs do those of the search, are kept.

        Raises:
            AnalysisError: A name or a level does not exist.
        """
        runs, failures, left_out = self.runs, self.failures, self.left_out
        for name, wanted in levels.items():
            chosen = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
            kept, known = self._at(runs, name, chosen)
            for level in map(text_of, chosen):
                if level not in known:
                    raise AnalysisError(unknown_name(f"level of {name}", level, known))
            runs = runs[kept]
            if name in design.names():  # all that a job that was not done is sure to know of itself
                failures, left_out = (frame[frame[name].isin(chosen)] for frame in (failures, left_out))
        scores = self.scores[self.scores["run_id"].isin(runs.index)]
        return replace(self, runs=runs, scores=scores, failures=failures, left_out=left_out)

    def _at(self, runs: pd.DataFrame, name: str, levels: list[Any]) -> tuple[pd.Series, list[str]]:
        """Returns which runs are at one of some levels, and all levels that there are, as text."""
        entries = () if self.identities is None else self.identities.entries
        if name in runs and (name not in entries or runs[name].isin(levels).any()):
            return runs[name].isin(levels), [text_of(level) for level in runs[name].dropna().unique().tolist()]
        if self.identities is None or name not in entries:
            raise AnalysisError(unknown_name("column of runs", name, [*runs.columns, *entries]))
        column = self.identities.column(name, runs)
        return column.isna() | column.isin([*map(text_of, levels)]), column.dropna().unique().tolist()


def load(results_dir: Path | str, sweep: str | None = None, where: Mapping[str, Any] | None = None) -> Results:
    """Reads the records of a results folder.

    Args:
        results_dir: The folder that sweeps write to, or an archive of one (`deprune.archive`).
        sweep: Name of a folder below `sweeps/`; only its runs are read. By default all.
        where: Factor, or entry of the identity such as `eval.limit` -> level or levels to keep.

    Raises:
        DataError: The folder or the sweep does not exist, or no record can be used.
        AnalysisError: `where` names something that does not exist, or the runs differ in what is no factor.
    """
    folder = folder_of(Path(results_dir))
    members = None if sweep is None else members_of(folder, sweep)
    runs, scores, left_out = read_records(record_files(folder, "record.json", members))
    failures = read_failures(folder, members)
    counts = {why: int((left_out["why"] == why).sum()) for why in EXCLUDED} | {"failed": len(failures)}
    if runs.empty:
        why = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n) or "there are no records"
        raise DataError(f"No run in {folder} can be analysed ({why}); give the results_dir of a finished sweep.")
    runs = runs.set_index("run_id")
    parts = runs.filter(regex=f"^{PART}")
    identities = Identities(parts.astype("category").rename(columns=lambda column: column.removeprefix(PART)))
    results = Results(
        runs=_labelled(runs.drop(columns=parts), identities, failures), scores=scores, failures=failures,
        excluded=counts, left_out=left_out, folder=folder, identities=identities,
    )  # fmt: skip
    log.info(results.summary)
    results = results if where is None else results.where(where)
    identities.refuse_pooling(results.runs)
    return results


def _labelled(runs: pd.DataFrame, identities: Identities, failures: pd.DataFrame) -> pd.DataFrame:
    """Returns typed runs, with the labels of their settings; one name with two settings becomes two levels."""
    for name in design.names():
        runs[name] = identities.labels(design.factor(name), runs[name])
    runs = typed(runs.assign(calib_config=design.configuration_labels(runs)), failures)
    runs[PERCENT] *= 100
    return runs


def typed(runs: pd.DataFrame, failures: pd.DataFrame | None = None) -> pd.DataFrame:
    """Returns runs with typed columns, and texts as categories in the order of tables, with the levels of failures."""
    runs = runs.astype({name: dtype for dtype, names in DTYPES.items() for name in names.split() if name in runs})
    for name in (*design.factors_of(runs), *TEXTS):
        if name in TEXTS or runs[name].dtype in (object, "str"):
            failed = failures[name].dropna().astype(str) if failures is not None and name in failures else ()
            levels = {*runs[name].dropna().unique(), *failed}
            runs[name] = pd.Categorical(runs[name], design.ordered_levels(name, levels, design.ranks_of(name, runs)))
    return runs
