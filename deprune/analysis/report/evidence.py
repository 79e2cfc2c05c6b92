"""Everything that the report is made of, computed once; what cannot be computed is a sentence instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from deprune.analysis.classical import classical_table
from deprune.analysis.cost import quality_against_cost, spread_across_searches
from deprune.analysis.decompose import Decomposition, decompose
from deprune.analysis.frame import Results
from deprune.analysis.gains import dense_values, gains_over_oneshot
from deprune.analysis.gaps import optimality_gaps
from deprune.analysis.patterns import Patterns, consensus, decompose_patterns, dispersion
from deprune.analysis.published import read_table
from deprune.analysis.ranks import agreement_between_calibrations, perplexity_against_accuracy, rank_correlation
from deprune.analysis.responses import response, response_names
from deprune.analysis.similarity import calibration_groups
from deprune.errors import AnalysisError, DepruneError

T = TypeVar("T")

CONDITION = ["model", "budget", "calib_config"]
INCREASE = "calibration loss increase"
CONTROLS = ("random", "last")
"""Searches that look at no loss: they cannot converge to anything."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One response and all that is said about it.

    Attributes:
        title: The response, with the objective where it is that objective's loss.
        response: Name of the response.
        results: The runs that can have it.
        unit: Of the response.
        decomposition: Its variance by factor; None where `refusal` says why.
        refusal: Why there is no decomposition; else empty.
        notes: Sentences on which runs were taken.
        values: One row per model, budget, configuration and search: mean `value`, `stderr` over seeds.
        gains: As of `gains_over_oneshot`.
        spread: As of `spread_across_searches`.
        costs: As of `quality_against_cost`, for the first cost that the runs have; may be empty.
        dense: Mean response of each dense model.
    """

    title: str
    response: str
    results: Results
    unit: str
    decomposition: Decomposition | None
    refusal: str
    notes: tuple[str, ...]
    values: pd.DataFrame
    gains: pd.DataFrame
    spread: pd.DataFrame
    costs: pd.DataFrame
    dense: pd.Series

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.title} [{self.unit}]"

    @property
    def is_part(self) -> bool:
        """Whether it is one task or corpus of several."""
        return " of " in self.response


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The whole analysis of some results.

    Attributes:
        results: The runs.
        subjects: The responses.
        patterns: The decomposition of removal patterns, by model.
        consensus: As of `consensus`, without the searches of `CONTROLS`; empty without patterns.
        dispersion: As of `dispersion`.
        ranks: As of `perplexity_against_accuracy`, equal subsets counting once; may be empty.
        rank_pairs: The ranks behind it, one row per condition and search.
        agreement: As of `agreement_between_calibrations`, of the first subject.
        gaps: As of `optimality_gaps`; may be empty.
        refusals: What could not be computed -> a sentence why.
    """

    results: Results
    subjects: tuple[Subject, ...]
    patterns: tuple[Patterns, ...]
    consensus: pd.DataFrame
    dispersion: pd.DataFrame
    ranks: pd.DataFrame
    rank_pairs: pd.DataFrame
    agreement: pd.DataFrame
    gaps: pd.DataFrame
    refusals: dict[str, str]

    def subject(self, name: str) -> Subject | None:
        """Returns the first subject of a response."""
        return next((s for s in self.subjects if s.response == name), None)


def gather(results: Results, responses: Sequence[str] | None = None, n_resamples: int = 1000) -> Evidence:
    """Computes everything that these results allow.

    Args:
        results: The runs.
        responses: Names of the responses; by default all.
        n_resamples: Resamples of whole draws behind every interval.

    Raises:
        AnalysisError: A response does not exist, or no run was pruned.
    """
    if results.runs["is_dense"].all():
        raise AnalysisError(f"All {len(results.runs)} runs are of dense models, so there is nothing to compare.")
    refusals: dict[str, str] = {}
    subjects = tuple(
        _subject(part, name, title, notes, n_resamples)
        for name in responses or _all_responses(results)
        for part, title, notes in _parts(results, name)
    )
    models = results.runs.loc[~results.runs["is_dense"] & results.runs["subset"].notna(), "model"]
    patterns = [
        _attempt(refusals, f"patterns of {model}", lambda m=str(model): decompose_patterns(results, m))  # type: ignore[misc]
        for model in models.unique()
    ]
    if models.empty:
        refusals["patterns"] = "No run says which blocks were removed."
    pairs, ranks = _ranks(results, refusals)
    agreement = _attempt(
        refusals,
        "agreement between calibrations",
        lambda: agreement_between_calibrations(subjects[0].results, subjects[0].response),
    )
    return Evidence(
        results=results,
        subjects=subjects,
        patterns=tuple(p for p in patterns if p is not None),
        consensus=_consensus(results),
        dispersion=dispersion(results),
        ranks=ranks,
        rank_pairs=pairs,
        agreement=pd.DataFrame() if agreement is None else agreement,
        gaps=_gaps(results, refusals),
        refusals=refusals,
    )


def _all_responses(results: Results) -> list[str]:
    """Returns the responses, without the parts of a mean of one."""
    names = response_names(results)
    kinds = [name.partition(" of ")[0] for name in names]
    return [name for name, kind in zip(names, kinds, strict=True) if name == kind or kinds.count(kind) > 2]


def _consensus(results: Results) -> pd.DataFrame:
    searches = results.runs["search"].dropna().astype(str).unique()
    kept = [s for s in searches if s.split(" ")[0] not in CONTROLS]
    return consensus(results.where({"search": kept})) if kept else pd.DataFrame()


def _attempt(refusals: dict[str, str], what: str, compute: Callable[[], T]) -> T | None:
    try:
        return compute()
    except DepruneError as error:
        refusals[what] = str(error)
        return None


def _parts(results: Results, name: str) -> list[tuple[Results, str, tuple[str, ...]]]:
    """Returns the runs that can have a response, apart where objectives measure different things."""
    runs = results.runs
    if name == INCREASE:
        objectives = runs.loc[runs["calib_value"].notna() & ~runs["is_dense"], "objective"].astype(str).unique()
        return [(results.where({"objective": o}), f"{name} ({o})", ()) for o in objectives]
    present = response(results, name).values.notna() & ~runs["is_dense"]
    measured = present.groupby(runs["objective"].astype(str)).any()
    having = measured.index[measured].tolist()
    without = [o for o in measured.index if o not in having and not runs.loc[runs["objective"] == o, "is_dense"].all()]
    if not having or not without:
        return [(results, name, ())]
    note = f"{name} was measured for the objective {', '.join(having)} only, not for {', '.join(without)}."
    return [(results.where({"objective": having}), name, (note,))]


def _subject(part: Results, name: str, title: str, notes: tuple[str, ...], n_resamples: int) -> Subject:
    refusals: dict[str, str] = {}
    found = _attempt(refusals, title, lambda: decompose(part, name, n_resamples=n_resamples))
    dense = dense_values(part, name).groupby(part.runs["model"], observed=True).mean()
    return Subject(
        title=title,
        response=name,
        results=part,
        unit=response(part, name).unit,
        decomposition=found,
        refusal=refusals.get(title, ""),
        notes=notes,
        values=_values(part, name),
        gains=gains_over_oneshot(part, name),
        spread=spread_across_searches(part, name),
        costs=_costs(part, name),
        dense=dense,
    )


def _values(results: Results, name: str) -> pd.DataFrame:
    frame = results.runs.assign(value=response(results, name).values, calibration=calibration_groups(results.runs))
    frame = frame[~frame["is_dense"] & frame["value"].notna()]
    grouped = frame.groupby([*CONDITION, "calibration", "search"], observed=True)["value"]
    return grouped.agg(value="mean", stderr="sem", runs="size").reset_index()


def _costs(results: Results, name: str) -> pd.DataFrame:
    for cost in ("n_evals", "search_seconds"):
        if results.runs.loc[~results.runs["is_dense"], cost].notna().any():
            return quality_against_cost(results, name, cost)
    return pd.DataFrame()


def _ranks(results: Results, refusals: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = response_names(results)
    if not {"accuracy", "log perplexity"} <= {*names}:
        refusals["ranks"] = (
            "Ranks need both an accuracy and the perplexity of a held-out corpus; add what is missing to eval."
        )
        return pd.DataFrame(), pd.DataFrame()
    runs = results.runs.assign(
        perplexity=response(results, "log perplexity").values, accuracy=response(results, "accuracy").values
    )
    runs = runs[~runs["is_dense"] & runs["perplexity"].notna() & runs["accuracy"].notna()]
    if runs.empty:
        refusals["ranks"] = "No run has both an accuracy and a perplexity, so their ranks cannot be compared."
        return pd.DataFrame(), pd.DataFrame()
    grouped = runs.groupby([*CONDITION, "search"], observed=True)[["perplexity", "accuracy"]]
    pairs = grouped.mean().join(grouped.sem().add_suffix("_stderr")).reset_index()
    by_condition = pairs.groupby(CONDITION, observed=True)
    pairs["perplexity_rank"] = by_condition["perplexity"].rank(method="min")
    pairs["accuracy_rank"] = by_condition["accuracy"].rank(method="min", ascending=False)
    return pairs, perplexity_against_accuracy(results, drop_copies=True)


def published_ranks() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the ranks of the study's Figure 2 and their correlations; the accuracies behind it are not printed."""
    pairs = read_table("figure2_ranks").assign(calib_config="nll c4 n64")
    rows = []
    for key, group in pairs.groupby(CONDITION):
        rho, p_rho = rank_correlation(group["perplexity_rank"].tolist(), group["accuracy_rank"].tolist())
        tau, p_tau = rank_correlation(group["perplexity_rank"].tolist(), group["accuracy_rank"].tolist(), "kendall")
        row = dict(zip(CONDITION, key, strict=True)) | {"searches": len(group), "distinct": 0}
        rows.append(row | {"spearman": rho, "p_spearman": p_rho, "kendall": tau, "p_kendall": p_tau})
    return pairs, pd.DataFrame(rows)


def with_published_ranks(evidence: Evidence) -> Evidence:
    """Returns the evidence of the study's tables with the ranks of its Figure 2."""
    pairs, ranks = published_ranks()
    refusals = {what: why for what, why in evidence.refusals.items() if what != "ranks"}
    return replace(evidence, rank_pairs=pairs, ranks=ranks, refusals=refusals)


def _gaps(results: Results, refusals: dict[str, str]) -> pd.DataFrame:
    folder = results.folder
    if folder is None:
        refusals["optimality gaps"] = "These tables have no evaluation store, so the best subset is not known."
        return pd.DataFrame()
    gaps = _attempt(refusals, "optimality gaps", lambda: optimality_gaps(folder))
    if gaps is None:  # a report is passed on, and where its records lay is nobody's business
        refusals["optimality gaps"] = refusals["optimality gaps"].replace(str(folder), "the results folder")
        return pd.DataFrame()
    return gaps[gaps["run_id"].isin(results.runs.index)]


def shares_by_seeds(subject: Subject, n_resamples: int = 500) -> pd.DataFrame:
    """Returns the shares within condition from the first 2, 3, … calibration seeds.

    Returns:
        `subject`, `seeds`, `quantity`, `share_within`, `share_within_low`, `share_within_high`; empty for fewer than
        three seeds.
    """
    seeds = sorted(subject.results.runs.loc[~subject.results.runs["is_dense"], "calib_seed"].dropna().unique())
    tables = []
    for n in range(2, len(seeds) + 1) if len(seeds) > 2 else ():
        try:
            part = decompose(
                subject.results.where({"calib_seed": seeds[:n]}), subject.response, n_resamples=n_resamples
            )
        except AnalysisError:
            continue
        tables.append(part.headline.assign(subject=subject.title, seeds=n))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def classical(subject: Subject) -> pd.DataFrame | str:
    """Returns the classical table of a subject, or why there is none."""
    if subject.decomposition is None:
        return subject.refusal
    try:
        return classical_table(subject.decomposition.panel)
    except (AnalysisError, np.linalg.LinAlgError) as error:
        return str(error)
