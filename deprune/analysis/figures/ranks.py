"""Perplexity against accuracy, ranked and as measured."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from deprune.analysis.figures.style import (
    INK,
    MAX_PANELS,
    QUIET,
    condition_name,
    mark_of,
    name_axes,
    offsets,
    panels,
    search_legend,
    searches_of,
    styled,
)  # fmt: skip

CONDITION = ["model", "budget", "calib_config"]


@styled
def rank_agreement(pairs: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Draws the rank of each search by perplexity against its rank by accuracy (the study's Figure 2).

    Args:
        pairs: `model`, `budget`, `calib_config`, `search`, `perplexity_rank`, `accuracy_rank`; 1 is best.
        correlations: As `perplexity_against_accuracy` returns it.
    """
    groups = list(pairs.groupby(CONDITION, observed=True))[:MAX_PANELS]
    figure, axes = panels(len(groups), 2.3)
    known = correlations.set_index(CONDITION).to_dict("index")
    for ax, (key, group) in zip(axes, groups, strict=True):
        n = len(group)
        ax.plot([1, n], [1, n], color=QUIET, lw=0.8, ls="--")
        for row, shift in zip(group.to_dict("records"), offsets(n, 0.5), strict=True):
            colour, marker = mark_of(str(row["search"]))
            x, y = row["perplexity_rank"] + shift, row["accuracy_rank"] - shift
            ax.plot(x, y, marker=marker, color=colour, mec=INK, mew=0.4, lw=0, alpha=0.85)
        found = known[key]
        text = (
            "no correlation"
            if math.isnan(found["spearman"])
            else f"ρ = {found['spearman']:+.2f}, p = {found['p_spearman']:.3f}"
        )
        distinct = f"{found['distinct']:.0f} distinct of {n}" if found["distinct"] else f"{n} searches"
        ax.set_title(f"{condition_name(key)}\n{text}; {distinct}")
        ax.set(xlim=(0.4, n + 0.6), ylim=(0.4, n + 0.6), xticks=range(1, n + 1), yticks=range(1, n + 1))
    name_axes(axes, "rank by perplexity (1 is best)", "rank by accuracy (1 is best)")
    search_legend(figure, searches_of(pairs), lw=0)
    return figure


@styled
def values_against_each_other(values: pd.DataFrame, labels: tuple[str, str]) -> Figure:
    """Draws accuracy against perplexity as measured, with standard errors over seeds.

    Args:
        values: `model`, `budget`, `search`, `perplexity`, `perplexity_stderr`, `accuracy`, `accuracy_stderr`.
        labels: Names and units of perplexity and accuracy.
    """
    groups = list(values.groupby(["model", "budget"], observed=True))[:MAX_PANELS]
    figure, axes = panels(len(groups), 2.2)
    for ax, (key, group) in zip(axes, groups, strict=True):
        for row in group.to_dict("records"):
            colour, marker = mark_of(str(row["search"]))
            point = (row[name] for name in ("perplexity", "accuracy", "accuracy_stderr", "perplexity_stderr"))
            ax.errorbar(*point, color=colour, marker=marker, elinewidth=0.6, mec=INK, mew=0.4, alpha=0.85)
        ax.set_title(condition_name(key))
    name_axes(axes, *labels)
    search_legend(figure, searches_of(values), lw=0)
    return figure
