"""One response and all that the report says about it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.patterns.similarity import calibration_groups
from deprune.analysis.read.responses import INCREASE, Measured, measured, response
from deprune.analysis.read.results import Results
from deprune.analysis.searches.cost import quality_against_cost, spread_across_searches
from deprune.analysis.searches.gains import gains_over_oneshot
from deprune.analysis.variance.classical import classical_table
from deprune.analysis.variance.decompose import Decomposition, decompose, sensitivity
from deprune.core.errors import AnalysisError, DataError, DepruneError


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One response and all that is said about it.

    Attributes:
        title: The response, with the objective where it is that objective's loss.
        response: The response.
        results: The runs that can have it.
        decomposition: Its variance by factor; None where `refusal` says why.
        refusal: Why there is no decomposition; else empty.
        notes: Sentences on which runs were taken.
        values: One row per condition, configuration and search: mean `value`, `stderr` over seeds.
        gains: As of `gains_over_oneshot`.
        spread: As of `spread_across_searches`.
        costs: As of `quality_against_cost`, for the first cost that the runs have; may be empty.
        dense: Mean response of each dense model.
        sensitivity: As of `sensitivity`; empty where there is nothing to show, as for single tasks.
    """

    title: str
    response: Measured
    results: Results
    decomposition: Decomposition | None
    refusal: str
    notes: tuple[str, ...]
    values: pd.DataFrame
    gains: pd.DataFrame
    spread: pd.DataFrame
    costs: pd.DataFrame
    dense: pd.Series
    sensitivity: pd.DataFrame

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.title} [{self.response.unit}]"

    @property
    def is_part(self) -> bool:
        """Whether it is one task or corpus of several."""
        return self.response.task is not None


def subjects_of(results: Results, name: str, n_resamples: int) -> list[Subject]:
    """Returns one subject for a response, or several where objectives measure different things."""
    return [_subject(part, name, title, notes, n_resamples) for part, title, notes in _parts(results, name)]


def _parts(results: Results, name: str) -> list[tuple[Results, str, tuple[str, ...]]]:
    """Returns the runs that can have a response, apart where objectives measure different things."""
    runs = results.runs
    objective = runs[design.OBJECTIVE].astype(str)
    if name == INCREASE:
        objectives = objective[runs["calib_value"].notna() & ~runs["is_dense"]].unique()
        return [(results.where({design.OBJECTIVE: o}), f"{name} ({o})", ()) for o in objectives]
    present = response(results, name).values.notna() & ~runs["is_dense"]
    measured = present.groupby(objective).any()
    having = measured.index[measured].tolist()
    without = [o for o in measured.index if o not in having and not runs.loc[objective == o, "is_dense"].all()]
    if not having or not without:
        return [(results, name, ())]
    note = f"{name} was measured for the objective {', '.join(having)} only, not for {', '.join(without)}."
    return [(results.where({design.OBJECTIVE: having}), name, (note,))]


def _subject(part: Results, name: str, title: str, notes: tuple[str, ...], n_resamples: int) -> Subject:
    found, refusal, chosen = None, "", response(part, name)
    try:
        found, noted = _decompose(part, chosen, n_resamples)
        notes += noted
    except DepruneError as error:
        refusal = str(error)
    kinds = [part.runs[name] for name in design.conditions(part.runs) if name not in design.OF_PRUNED]
    return Subject(
        title=title, response=chosen, results=part, decomposition=found, refusal=refusal, notes=notes,
        values=_values(part, name), gains=gains_over_oneshot(part, name), spread=spread_across_searches(part, name),
        costs=_costs(part, name), dense=chosen.dense.groupby(kinds, observed=True).mean(),
        sensitivity=sensitivity(part, found, n_resamples) if found and chosen.task is None else pd.DataFrame(),
    )  # fmt: skip


def _decompose(results: Results, chosen: Measured, n_resamples: int) -> tuple[Decomposition, tuple[str, ...]]:
    """Decomposes a response, over items where their answers allow it, and says which."""
    name = chosen.name
    if not chosen.is_mean_of_items:
        return decompose(results, name, n_resamples=n_resamples), ()
    note = "The noise of items is subtracted: these numbers speak of the tasks, not of these very items alone."
    try:
        return decompose(results, name, over_items=True, n_resamples=n_resamples), (note,)
    except DataError:
        why = "the answers to single items are not there or are not those behind the records"
    except DepruneError:
        why = "that needs a complete grid with two calibration seeds or more, and tasks of two items or more"
    note = f"The noise of items is not subtracted, for {why}: these numbers speak of these very items."
    return decompose(results, name, n_resamples=n_resamples), (note,)


def _values(results: Results, name: str) -> pd.DataFrame:
    frame = measured(results, value=name).assign(calibration=calibration_groups(results.runs))
    grouped = frame.groupby([*design.configurations(frame), "calibration", design.SEARCH], observed=True)["value"]
    return grouped.agg(value="mean", stderr="sem", runs="size").reset_index()


def _costs(results: Results, name: str) -> pd.DataFrame:
    for cost in ("n_evals", "search_seconds"):
        if results.runs.loc[~results.runs["is_dense"], cost].notna().any():
            return quality_against_cost(results, name, cost)
    return pd.DataFrame()


def shares_by_seeds(subject: Subject, n_resamples: int = 500) -> pd.DataFrame:
    """Returns the shares within condition from the first 2, 3, … calibration seeds; empty for fewer than three.

    They are headline tables with `subject` and the number of `seeds`.
    """
    seeds = sorted(subject.results.runs.loc[~subject.results.runs["is_dense"], design.SEED].dropna().unique())
    tables = []
    for n in range(2, len(seeds) + 1) if len(seeds) > 2 else ():
        try:
            part, _ = _decompose(subject.results.where({design.SEED: seeds[:n]}), subject.response, n_resamples)
        except AnalysisError:
            continue
        tables.append(part.headline.assign(subject=subject.title, seeds=n))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def classical(subject: Subject) -> pd.DataFrame:
    """Returns the classical table of a subject; empty where there is none."""
    try:
        return pd.DataFrame() if subject.decomposition is None else classical_table(subject.decomposition.panel)
    except (AnalysisError, np.linalg.LinAlgError):
        return pd.DataFrame()
