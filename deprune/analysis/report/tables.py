"""The tables of a report, with their captions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from deprune.analysis import design
from deprune.analysis.read.failure_rates import rates_by_level
from deprune.analysis.read.published import check_published, published_remarks
from deprune.analysis.report.claims import Claim
from deprune.analysis.report.evidence import Evidence
from deprune.analysis.report.subject import Subject, classical
from deprune.analysis.searches.optimality import gaps_by_search
from deprune.analysis.variance.decompose import ranges_without_one
from deprune.analysis.variance.panel import alias_table

MAX_LEVELS = 12


@dataclass(frozen=True)
class Exhibit:
    """What a report shows: the name of its files, the section that it stands in, and its caption."""

    name: str
    section: str
    caption: str


@dataclass(frozen=True)
class Table(Exhibit):
    """A table of the report."""

    frame: pd.DataFrame


DECOMPOSITION = {
    "headline": "Variance by origin: V_C calibration, V_S search, V_CS both together, V_seed another draw, V_condition "
    "model and budget; share_within is of what is within condition.",
    "tests": "Permutation tests of no effect, exchanging whole draws.",
    "factors": "First-order, total and Shapley share of the total variance, and the change when the factor alone moves "
    "to another level (switch).",
    "components": "Functional-ANOVA components of every term.",
}
"""What decompositions of responses and of patterns have in common: attribute -> caption."""

RESPONSES = {
    "calibration_parts": "How V_C splits among the calibration factors (Shapley); where aliased, of a whole that the "
    "design cannot take apart.",
    "leave_one_out": "The shares without each level: shares belong to the levels that were run.",
}


def make_tables(evidence: Evidence, claims: tuple[Claim, ...]) -> list[Table]:
    """Returns the tables that have rows, in the order of the report."""
    tables = [*_run_tables(evidence), Table("claims", "claims", "The parts of every verdict.", _claims(claims))]
    tables += [*_pattern_tables(evidence), *_search_tables(evidence), *_variance_tables(evidence)]
    ranks = (
        "Rank correlation of perplexity and accuracy over searches, equal subsets counting once; p values are exact."
    )
    agreement = f"Rank correlation of searches between calibration configurations ({evidence.subjects[0].title})."
    checks = "Every average, variance and correlation printed in arXiv:2604.24938v1, and what its tables give."
    tables += [
        Table("ranks", "ranks", ranks, evidence.ranks),
        Table("agreement", "ranks", agreement, evidence.agreement),
        Table("published_checks", "published", checks, check_published()),
        Table("published_remarks", "published", "Where the paper disagrees with itself.", published_remarks()),
    ]
    return [table for table in tables if len(table.frame)]


def _run_tables(evidence: Evidence) -> Iterator[Table]:
    runs, failures = evidence.results.runs, evidence.results.failures
    rates = (
        "Jobs of pruned models at every level: done, failed, stale (a record that cannot be used), and diverged among "
        "those done. Where rates differ between levels, so may what is left to compare."
    )
    means = _by_subject(evidence, lambda subject: subject.values)
    yield Table("factors", "run", "The factors and their levels among the pruned runs.", _factors(runs))
    yield Table("dense", "run", "What the dense models reach.", _dense(evidence))
    yield Table("aliases", "run", "Pairs of factors of which not every combination was run.", alias_table(runs))
    holes = "Runs that the grid of a response lacks, by their factors."
    yield Table("missing_runs", "run", holes, _by_subject(evidence, _missing, parts=False))
    yield Table("rates", "run", rates, rates_by_level(evidence.results))
    yield Table("failures", "run", "Jobs that failed.", failures.dropna(axis=1, how="all"))
    left_out = evidence.results.left_out.dropna(axis=1, how="all")
    yield Table("left_out", "run", "Records that were left out, and why.", left_out)
    yield Table("warnings", "run", "Warnings in the records.", _warnings(runs))
    yield Table("means", "run", "Mean response of every model, budget, configuration and search.", means)


def _pattern_tables(evidence: Evidence) -> Iterator[Table]:
    for name, caption in {**DECOMPOSITION, "by_block": "Variance of each block's removal by origin."}.items():
        frames = [getattr(p, name).assign(model=p.model) for p in evidence.patterns]
        yield Table(f"patterns_{name}", "patterns", f"Removal patterns. {caption}", _first("model", frames))
    dispersion = "How much patterns scatter at each level: mean symmetric difference [blocks]."
    yield Table("dispersion", "patterns", dispersion, evidence.dispersion)


def _search_tables(evidence: Evidence) -> Iterator[Table]:
    gains = (
        "Gain of each complex search over one-shot on the same draw, and the share of one-shot's loss against the "
        "dense model that it wins back; intervals hold for all searches together."
    )
    spread = "Spread between searches within a condition; variance is the population variance."
    cost = "Quality against cost; on the front: no search is as good and as cheap."
    consensus = (
        "Mean Jaccard similarity of pairs of runs, with what chance gives; searches that look at no loss are left out."
    )
    yield Table("gains", "search", gains, _by_subject(evidence, lambda subject: subject.gains, parts=False))
    yield Table("spread", "search", spread, _by_subject(evidence, lambda subject: subject.spread))
    yield Table("cost", "search", cost, _by_subject(evidence, lambda subject: subject.costs))
    yield Table("consensus", "search", consensus, evidence.consensus)
    if len(evidence.gaps):
        caption = "Optimality gap by search: 0 is the best subset, 1 the mean of all subsets."
        yield Table("gaps_by_search", "search", caption, gaps_by_search(evidence.gaps).reset_index())
        yield Table("gaps", "search", "Optimality gap of every run whose space is wholly evaluated.", evidence.gaps)


def _variance_tables(evidence: Evidence) -> Iterator[Table]:
    caption = (
        "The primary contrasts: log(V_C / V_S) with its 95 % interval, the p value of the two being equal, and Holm's "
        "over these contrasts. All other tests are an appendix."
    )
    yield Table("variance_primary", "variance", caption, evidence.primary)
    caption = "Calibration against search: log(V_C / V_S) with its 95 % interval, for every response."
    yield Table("variance_ratio", "variance", caption, _by_subject(evidence, _ratio))
    for name, caption in {**DECOMPOSITION, **RESPONSES}.items():
        yield Table(f"variance_{name}", "variance", caption, _by_subject(evidence, _part(name)))
    caption = (
        "Range of shares and of the log ratio when one level of a factor is left out; for the search, whose levels "
        "could be others, with the jackknife standard error. Items are taken as they are; "
        "a log ratio exists only where both variances are positive, at so many levels."
    )
    ranges = _by_subject(evidence, lambda subject: ranges_without_one(_part("leave_one_out")(subject)), parts=False)
    yield Table("variance_leave_one_out_range", "variance", caption, ranges)
    caption = "Other readings of the same runs: does the answer hang on a choice?"
    yield Table("variance_sensitivity", "variance", caption, _by_subject(evidence, lambda subject: subject.sensitivity))
    caption = "Appendix: the classical table (type II). η² and partial η² are biased upwards."
    yield Table("variance_classical", "variance", caption, _by_subject(evidence, classical, parts=False))


def _missing(subject: Subject) -> pd.DataFrame:
    return subject.decomposition.panel.missing if subject.decomposition else pd.DataFrame()


def _part(name: str) -> Callable[[Subject], pd.DataFrame]:
    return lambda subject: getattr(subject.decomposition, name) if subject.decomposition else pd.DataFrame()


def _by_subject(evidence: Evidence, frame: Callable[[Subject], pd.DataFrame], *, parts: bool = True) -> pd.DataFrame:
    """Puts a table of every response under each other, also of single tasks."""
    subjects = [s for s in evidence.subjects if parts or not s.is_part]
    return _first("response", [frame(s).assign(response=s.title) for s in subjects])


def _first(column: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Puts tables under each other, with the column that tells them apart in front."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames, ignore_index=True)
    return table[[column, *(c for c in table.columns if c != column)]]


def _ratio(subject: Subject) -> pd.DataFrame:
    if subject.decomposition is None:
        return pd.DataFrame()
    ratio, panel = subject.decomposition.ratio, subject.decomposition.panel
    row = {"log_ratio": ratio.log, "low": ratio.low, "high": ratio.high, "p": ratio.p, "verdict": ratio.verdict}
    row |= {"runs": len(panel.values), "draws": panel.n_draws, "seeds": panel.n_seeds}
    row |= {"cells": panel.grid.n_cells, "cells_missing": panel.n_cells_missing}
    row["distinct_subsets"] = len(panel.rows[[design.MODEL, "subset"]].dropna().drop_duplicates())
    return pd.DataFrame([row | {"estimator": subject.decomposition.estimator}])


def _factors(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for factor in (*design.factors_of(runs), *design.factors_of(runs, design.Role.REPLICATE)):
        levels = runs.loc[~runs["is_dense"], factor].drop_duplicates().sort_values()
        names = ["none" if pd.isna(level) else str(level) for level in levels]
        if design.is_silent(factor, names):
            continue
        more = [f"{len(names) - MAX_LEVELS} more"] if len(names) > MAX_LEVELS else []
        rows.append((factor, len(names), ", ".join([*names[:MAX_LEVELS], *more])))
    return pd.DataFrame(rows, columns=["factor", "levels", "names"])


def _dense(evidence: Evidence) -> pd.DataFrame:
    columns = {s.label: s.dense for s in evidence.subjects if s.dense.abs().gt(0).any()}
    names = evidence.subjects[0].dense.index.names
    return pd.DataFrame(columns).rename_axis(names).reset_index() if columns else pd.DataFrame()


def _warnings(runs: pd.DataFrame) -> pd.DataFrame:
    texts = runs["warnings"].str.split("\n").explode()
    return texts[texts.fillna("") != ""].value_counts().rename("runs").rename_axis("warning").reset_index()


def _claims(claims: tuple[Claim, ...]) -> pd.DataFrame:
    rows = [(c.number, c.verdict, p.subject, p.verdict, p.reason) for c in claims for p in c.parts]
    return pd.DataFrame(rows, columns=["claim", "verdict", "part", "verdict_of_part", "reason"])
