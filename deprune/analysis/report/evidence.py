"""Everything that the report is made of, computed once; what cannot be computed is a sentence instead."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import pandas as pd

from deprune.analysis import design
from deprune.analysis.adjust import holm, with_adjusted
from deprune.analysis.patterns.consensus import consensus, dispersion
from deprune.analysis.patterns.masks import Patterns, decompose_patterns, with_patterns
from deprune.analysis.read.published import read_table
from deprune.analysis.read.responses import measured, response_names, responses_of
from deprune.analysis.read.results import Results
from deprune.analysis.report.subject import Subject, subjects_of
from deprune.analysis.searches import ranks as searches_ranked
from deprune.analysis.searches.optimality import optimality_gaps
from deprune.analysis.searches.ranks import agreement_between_calibrations, perplexity_against_accuracy
from deprune.core.errors import AnalysisError, DepruneError
from deprune.core.kinds import Kind
from deprune.record.schema import ACCURACY, LOG_PERPLEXITY

T = TypeVar("T")

PRIMARY = (LOG_PERPLEXITY, ACCURACY)
"""Responses whose log(V_C / V_S) is tested, with those of patterns; all else is an appendix."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The whole analysis of some results.

    Attributes:
        results: The runs.
        subjects: The responses.
        patterns: The decomposition of removal patterns, by model.
        consensus: As of `consensus`, without searches that look at no loss; empty without patterns.
        dispersion: As of `dispersion`.
        ranks: As of `perplexity_against_accuracy`, equal subsets counting once; may be empty.
        rank_pairs: The ranks behind it, one row per condition and search.
        mean_rank_p: Of no agreement in any condition, from the mean correlation; NaN without ranks.
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
    mean_rank_p: float
    agreement: pd.DataFrame
    gaps: pd.DataFrame
    refusals: dict[str, str]

    @property
    def primary(self) -> pd.DataFrame:
        """The primary contrasts: log(V_C / V_S) of patterns, perplexity and accuracy, with Holm's p over them."""
        ratios = {f"patterns of {p.model}": p.ratio for p in self.patterns}
        for name in PRIMARY:
            if (subject := self.subject(name)) and subject.decomposition:
                ratios[name] = subject.decomposition.ratio
        rows = [(name, r.log, r.low, r.high, r.p, r.verdict) for name, r in ratios.items()]
        table = pd.DataFrame(rows, columns=["contrast", "log_ratio", "low", "high", "p", "verdict"])
        return with_adjusted(table, "p", "p_holm", holm)

    def subject(self, name: str) -> Subject | None:
        """Returns the first subject of a response."""
        return next((s for s in self.subjects if s.response.name == name), None)


def gather(results: Results, responses: Sequence[str] | None = None, n_resamples: int = 1000) -> Evidence:
    """Computes everything that these results allow, of all responses unless some are named.

    Every interval is from `n_resamples` resamples of whole draws.

    Raises:
        AnalysisError: A response does not exist, or no run was pruned.
    """
    if results.runs["is_dense"].all():
        raise AnalysisError(f"All {len(results.runs)} runs are of dense models, so there is nothing to compare.")
    refusals: dict[str, str] = {}
    several = {r.kind for r in responses_of(results) if len(r.tasks) > 1}  # parts of a mean of one are left out
    every = [r.name for r in responses_of(results) if r.task is None or r.kind in several]
    subjects = tuple(subject for name in responses or every for subject in subjects_of(results, name, n_resamples))
    models = with_patterns(results)[design.MODEL].astype(str).unique()
    patterns = [_attempt(refusals, f"patterns of {m}", partial(decompose_patterns, results, m)) for m in models]
    if not len(models):
        refusals["patterns"] = "No run says which blocks were removed."
    pairs, ranks = _ranks(results, refusals)
    compared = partial(agreement_between_calibrations, subjects[0].results, subjects[0].response.name)
    agreement = _attempt(refusals, "agreement between calibrations", compared)
    # Controls look at no loss, so they cannot converge to anything.
    converging = replace(results, runs=results.runs[results.runs["search_kind"] != Kind.CONTROL])
    return Evidence(
        results=results, subjects=subjects, patterns=tuple(p for p in patterns if p is not None),
        consensus=consensus(converging), dispersion=dispersion(results), ranks=ranks, rank_pairs=pairs,
        mean_rank_p=math.nan if ranks.empty else searches_ranked.mean_rank_correlation(results)[1],
        agreement=pd.DataFrame() if agreement is None else agreement, gaps=_gaps(results, refusals), refusals=refusals,
    )  # fmt: skip


def _attempt(refusals: dict[str, str], what: str, compute: Callable[[], T]) -> T | None:
    try:
        return compute()
    except DepruneError as error:
        refusals[what] = str(error)
        return None


def _ranks(results: Results, refusals: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    missing = "Ranks need both an accuracy and the perplexity of a held-out corpus; add what is missing to eval."
    if not {*PRIMARY} <= {*response_names(results)}:
        refusals["ranks"] = missing
        return pd.DataFrame(), pd.DataFrame()
    runs = measured(results, perplexity=LOG_PERPLEXITY, accuracy=ACCURACY)
    if runs.empty:
        refusals["ranks"] = "No run has both an accuracy and a perplexity, so their ranks cannot be compared."
        return pd.DataFrame(), pd.DataFrame()
    within = design.configurations(runs)
    grouped = runs.groupby([*within, design.SEARCH], observed=True)[["perplexity", "accuracy"]]
    pairs = grouped.mean().join(grouped.sem().add_suffix("_stderr")).reset_index()
    by_condition = pairs.groupby(within, observed=True)
    pairs["perplexity_rank"] = by_condition["perplexity"].rank(method="min")
    pairs["accuracy_rank"] = by_condition["accuracy"].rank(method="min", ascending=False)
    return pairs, perplexity_against_accuracy(results, drop_copies=True)


def with_published_ranks(evidence: Evidence) -> Evidence:
    """Returns the evidence of the study's tables with the ranks of its Figure 2, whose accuracies are not printed."""
    pairs = read_table("figure2_ranks").assign(calib_config="nll c4 n64")
    rows, ranked, within = [], [], design.configurations(pairs)
    for key, group in pairs.groupby(within):
        ranked.append((group["perplexity_rank"], group["accuracy_rank"]))
        row = dict(zip(within, key, strict=True)) | {"searches": len(group), "distinct": 0}
        rows.append(row | searches_ranked.correlations(*ranked[-1]))
    _, p = searches_ranked.mean_correlation([(first.tolist(), second.tolist()) for first, second in ranked])
    refusals = {what: why for what, why in evidence.refusals.items() if what != "ranks"}
    pairs = pairs.astype({design.SEARCH: evidence.results.runs[design.SEARCH].dtype})
    return replace(evidence, rank_pairs=pairs, ranks=pd.DataFrame(rows), mean_rank_p=p, refusals=refusals)


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
