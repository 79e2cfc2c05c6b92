"""Perplexity against accuracy, ranked and as measured."""

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from deprune.analysis import design
from deprune.analysis.figures.style import INK, QUIET, marks_of, name_axes, offsets, panels_of, search_legend, styled


@styled
def rank_agreement(pairs: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Draws the rank of each search by perplexity against its rank by accuracy (the study's Figure 2).

    Args:
        pairs: `model`, `budget`, `calib_config`, `search`, `perplexity_rank`, `accuracy_rank`; 1 is best.
        correlations: As `perplexity_against_accuracy` returns it.
    """
    within, marks = design.configurations(pairs), marks_of(pairs)
    figure, panels = panels_of(pairs, within, 2.3)
    known = correlations.set_index(within).to_dict("index")
    for ax, key, group in panels:
        n = len(group)
        ax.plot([1, n], [1, n], color=QUIET, lw=0.8, ls="--")
        for row, shift in zip(group.to_dict("records"), offsets(n, 0.5), strict=True):
            marks[row["search"]].draw(ax, row["perplexity_rank"] + shift, row["accuracy_rank"] - shift, alpha=0.85)
        ax.set_title(f"{ax.get_title('left')}\n{_correlation(known[key])}")
        ax.set(xlim=(0.4, n + 0.6), ylim=(0.4, n + 0.6), xticks=range(1, n + 1), yticks=range(1, n + 1))
    name_axes(figure, "rank by perplexity", "rank by accuracy")
    search_legend(figure, pairs, lw=0)
    return figure


def _correlation(found: dict[Hashable, Any]) -> str:
    """Returns coefficient and p value, and on how many different subsets they are, where searches agree."""
    p = found["p_spearman"]
    text = f"ρ = {found['spearman']:+.2f}, " + (f"p = {p:.3f}" if p >= 0.001 else "p < 0.001")
    text = "no correlation" if math.isnan(p) else text
    n, distinct = found["searches"], found["distinct"]
    return f"{text}\n{distinct} distinct of {n}" if 0 < distinct < n else text


@styled
def values_against_each_other(values: pd.DataFrame, labels: tuple[str, str]) -> Figure:
    """Draws accuracy against perplexity as measured, with standard errors over seeds.

    Args:
        values: `model`, `budget`, `search`, `perplexity`, `perplexity_stderr`, `accuracy`, `accuracy_stderr`.
        labels: Names and units of perplexity and accuracy.
    """
    marks = marks_of(values)
    figure, panels = panels_of(values, design.conditions(values), 2.2)
    for ax, _, group in panels:
        for row in group.to_dict("records"):
            colour, marker = marks[row["search"]]
            point = (row[name] for name in ("perplexity", "accuracy", "accuracy_stderr", "perplexity_stderr"))
            ax.errorbar(*point, color=colour, marker=marker, elinewidth=0.6, mec=INK, mew=0.4, alpha=0.85)
    name_axes(figure, *labels)
    search_legend(figure, values, lw=0)
    return figure
