"""The figures of a report, with their captions."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from deprune.analysis import design, figures
from deprune.analysis.figures.outcomes import MAX_ROWS
from deprune.analysis.figures.style import MAX_PANELS
from deprune.analysis.patterns.masks import with_patterns
from deprune.analysis.patterns.similarity import removal_frequency, similarity
from deprune.analysis.report.evidence import Evidence
from deprune.analysis.report.subject import Subject, shares_by_seeds
from deprune.analysis.report.tables import Exhibit
from deprune.analysis.variance.panel import Panel


@dataclass(frozen=True)
class Plot(Exhibit):
    """A figure of the report."""

    figure: Figure


def make_plots(evidence: Evidence) -> Iterator[Plot]:
    """Yields the figures that these results allow."""
    yield from _pattern_plots(evidence)
    subjects = [s for s in evidence.subjects if not s.is_part and len(s.values)]
    for subject in subjects:
        yield from _search_plots(subject)
    if len(evidence.gaps):
        caption = "Distance of every run from the best subset of its size, known because all were evaluated."
        gaps = evidence.gaps.assign(search=evidence.results.runs[design.SEARCH].loc[evidence.gaps["run_id"]].to_numpy())
        yield Plot("gaps", "search", caption, figures.optimality(gaps))
    yield from _variance_plots(evidence, subjects)
    if len(evidence.ranks):
        caption = "Rank of each search by perplexity and by accuracy, 1 being best; on the dashed line the two agree. "
        caption += "Equal subsets count once in the correlation, whose p value is exact."
        caption += _first_of(evidence.ranks, MAX_PANELS)
        yield Plot("ranks", "ranks", caption, figures.rank_agreement(evidence.rank_pairs, evidence.ranks))
    if "perplexity" in evidence.rank_pairs:
        labels = ("log perplexity [nats per token]", "accuracy [percentage points]")
        caption = "The same, not ranked; one point per configuration and search, bars are standard errors over seeds."
        yield Plot("values", "ranks", caption, figures.values_against_each_other(evidence.rank_pairs, labels))


def _pattern_plots(evidence: Evidence) -> Iterator[Plot]:
    known = with_patterns(evidence.results)
    for model in known[design.MODEL].unique():
        caption = f"Blocks that each search removes from {model} at each calibration; shading is the share of runs."
        figure = figures.removal_patterns(removal_frequency(evidence.results, str(model)), str(model))
        yield Plot(f"patterns {model}", "patterns", caption, figure)
    for patterns in evidence.patterns:
        caption = f"Which blocks of {patterns.model} depend on the calibration and which on the search."
        figure = figures.block_shares(patterns.by_block, patterns.model)
        yield Plot(f"blocks {patterns.model}", "patterns", caption, figure)
    within = design.conditions(known)
    for key in sorted(set(known[within].itertuples(index=False, name=None))):
        model, budget, *more = key
        caption = (
            f"Similarity of patterns of {', '.join(map(str, (model, *more)))}, {budget} blocks removed, between every "
            "two searches and calibrations. Squares along the diagonal: one calibration, different searches."
        )
        table = similarity(evidence.results, dict(zip(within, key, strict=True)))
        if len(table) > 1:
            name = " ".join([f"consensus {model} k{budget}", *map(str, more)])
            yield Plot(name, "search", caption, figures.consensus_matrix(table, key))


def _search_plots(subject: Subject) -> Iterator[Plot]:
    if len(subject.spread) and subject.spread["searches"].max() > 1:
        caption = f"Searches in each condition by {subject.title}: mean (bar), range and variance."
        caption += _first_of(subject.spread, MAX_ROWS)
        figure = figures.search_spread(subject.values, subject.spread, subject.label)
        yield Plot(f"spread {subject.title}", "search", caption, figure)
    if len(subject.costs) and subject.costs["cost"].nunique() > 1:
        caption = f"Cost of the search and {subject.title}. Line: what no search beats; band: one standard error of a "
        caption += "difference."
        caption += _first_of(subject.costs[design.configurations(subject.costs)].drop_duplicates(), MAX_PANELS)
        higher = subject.response.higher_is_better
        figure = figures.quality_cost(subject.costs, subject.label, higher_is_better=higher)
        yield Plot(f"cost {subject.title}", "search", caption, figure)


def _variance_plots(evidence: Evidence, subjects: list[Subject]) -> Iterator[Plot]:
    headlines = [s.decomposition.headline.assign(subject=s.title) for s in evidence.subjects if s.decomposition]
    headlines += [p.headline.assign(subject=f"patterns of {p.model}") for p in evidence.patterns]
    if headlines:
        caption = (
            "Shares of variance by origin. Lines above and below a bar: 95 % intervals of calibration and search. "
            "Right: root-mean-square change when calibration (C) or search (S) alone moves to another level (patterns: "
            "mean number of blocks that differ). Estimates below zero are drawn as zero."
        )
        figure = figures.variance_shares(pd.concat(headlines, ignore_index=True), _switches(evidence))
        yield Plot("shares", "variance", caption, figure)
    for subject in subjects:
        if subject.values["calibration"].nunique() > 1:
            within = design.conditions(subject.values)
            values = subject.values.groupby([*within, "calibration", design.SEARCH], observed=True)
            means = values.agg(value=("value", "mean"), stderr=("stderr", "mean")).reset_index()
            figure = figures.interaction(means, subject.label)
            caption = f"How {subject.title} depends on the calibration, one line per search; "
            caption += "parallel lines: no interaction."
            yield Plot(f"interaction {subject.title}", "variance", caption, figure)
    by_seeds = [table for s in subjects if s.decomposition and len(table := shares_by_seeds(s))]
    if by_seeds:
        caption = "Shares within condition from the first calibration seeds only: have they settled?"
        yield Plot("seeds", "variance", caption, figures.seeds_used(pd.concat(by_seeds, ignore_index=True)))


def _switches(evidence: Evidence) -> pd.DataFrame:
    rows, units = [], {"percentage points": "pp", "nats per token": "nat", "nat/token": "nat"}
    for subject in evidence.subjects:
        if found := subject.decomposition:
            unit = units.get(subject.response.unit, subject.response.unit)
            rows.append((subject.title, *_switch_texts(found.panel, found.factors, "switch_rms", unit)))
    for patterns in evidence.patterns:
        texts = _switch_texts(patterns.panel, patterns.factors, "switch_difference", "blocks")
        rows.append((f"patterns of {patterns.model}", *texts))
    return pd.DataFrame(rows, columns=["subject", "calibration", "search"])


def _switch_texts(panel: Panel, factors: pd.DataFrame, column: str, unit: str) -> list[str]:
    values = factors.set_index("factor")[column]
    calibration = "calibration" if len(panel.calibration) > 1 else "".join(panel.calibration)
    return [f"{values[factor]:.2g} {unit}" if factor in values else "–" for factor in (calibration, "search")]


def _first_of(table: pd.DataFrame, limit: int) -> str:
    return f" The first {limit} of {len(table)} conditions; the table has all." if len(table) > limit else ""
