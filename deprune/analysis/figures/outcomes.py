"""What pruned models are worth: by calibration, by search, by cost; and perplexity against accuracy.

A `label` is the name and unit of a response, and `labels` are those of perplexity and accuracy.
"""

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deprune.analysis import design
from deprune.analysis.figures import style
from deprune.analysis.figures.style import INK, QUIET, marks_of, name_axes, offsets, panels_of, search_legend, short

MAX_ROWS = 40  # conditions that are drawn, one line each


@style.styled
def interaction(values: pd.DataFrame, label: str) -> Figure:
    """Draws a response against the calibration, one line per search: parallel lines mean no interaction.

    The values have `model`, `budget`, `calibration`, `search`, `value` and `stderr` (over seeds; may be missing).
    """
    marks = marks_of(values)
    figure, panels = panels_of(values, design.conditions(values), 2.3)
    names = list(dict.fromkeys(values["calibration"]))
    for ax, _, group in panels:
        for i, (search, rows) in enumerate(group.groupby("search", observed=True)):
            colour, marker = marks[str(search)]
            x = np.array([names.index(c) for c in rows["calibration"]]) + 0.05 * (i - 3)
            ax.errorbar(x, rows["value"], rows["stderr"].fillna(0), color=colour, marker=marker, elinewidth=0.8)
        ax.set_xticks(range(len(names)), [short(n, 16) for n in names], rotation=30, ha="right", fontsize=7)
        ax.margins(x=0.08)
    name_axes(figure, "calibration", label)
    search_legend(figure, values)
    return figure


@style.styled
def search_spread(values: pd.DataFrame, spread: pd.DataFrame, label: str) -> Figure:
    """Draws the searches of every condition on one line each (the study's Figure 3).

    The values have `model`, `budget`, `calib_config`, `search`, `value`; the spread is of `spread_across_searches`.
    """
    shown = spread.head(MAX_ROWS).reset_index(drop=True)
    figure, axes = style.new_figure(1.3 + 0.3 * len(shown))
    ax, searches = axes[0, 0], style.searches_of(values)
    shifts = dict(zip(searches, offsets(len(searches), 0.44), strict=True))
    within, marks = design.configurations(values), marks_of(values)
    keyed = values.groupby(within, observed=True)
    for i, row in shown.iterrows():
        ax.plot([row["low"], row["high"]], [i, i], color=QUIET, lw=1, zorder=1)
        ax.plot(row["mean"], i, marker="|", ms=14, color=INK, zorder=2)
        for search, part in keyed.get_group(tuple(row[within])).groupby("search", observed=True):
            marks[str(search)].draw(ax, part["value"].mean(), i + shifts[str(search)], alpha=0.9, zorder=3)
        noise = row["variance_without_noise"]
        text = f"{row['variance']:.3g}" + ("" if math.isnan(noise) else f" ({noise:.3g})")
        ax.text(1.01, i, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7)
    ax.text(1.01, -0.9, "σ² (without noise)", transform=ax.get_yaxis_transform(), va="center", fontsize=7)
    keys = shown[within].itertuples(index=False, name=None)
    names = [", ".join([f"{short(key[0], 18)}, k = {key[1]}", *(short(k, 24) for k in key[2:])]) for key in keys]
    ax.set_yticks(range(len(shown)), names, fontsize=7)
    ax.set(xlabel=label, ylim=(len(shown) - 0.5, -0.7))
    search_legend(figure, values, lw=0)
    return figure


@style.styled
def quality_cost(table: pd.DataFrame, label: str, *, higher_is_better: bool) -> Figure:
    """Draws quality against cost, with the searches that nobody beats and a band of one standard error of a difference.

    The table is that of `quality_against_cost`.
    """
    marks = marks_of(table)
    figure, panels = panels_of(table, design.configurations(table), 2.2)
    for ax, _, group in panels:
        front = group[group["on_front"]].sort_values("cost")
        x = np.append(front["cost"].to_numpy(float), group["cost"].max())
        y = front["value"].to_numpy(float)[[*range(len(front)), -1]]
        error = math.sqrt(2) * float(np.sqrt((group["stderr"].astype(float) ** 2).mean()))
        worse = -error if higher_is_better else error
        ax.step(x, y, where="post", color=QUIET, lw=1)
        if math.isfinite(error):
            ax.fill_between(x, y, y + worse, step="post", color=QUIET, alpha=0.25, lw=0)
        for row in group.to_dict("records"):
            marks[row["search"]].draw(ax, row["cost"], row["value"], mew=1.2 if row["on_front"] else 0.4)
        if (group["cost"] > 0).all():
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers need mathematics, which is off
            ax.xaxis.set_minor_formatter(lambda *_: "")
        ax.margins(0.12)
    cost = {"n_evals": "losses asked for", "block_calls": "block calls", "search_seconds": "seconds of search"}
    name_axes(figure, cost[str(table["cost_unit"].iloc[0])], label)
    search_legend(figure, table, lw=0)
    return figure


@style.styled
def optimality(gaps: pd.DataFrame) -> Figure:
    """Draws how far each search is from the best subset, from `optimality_gaps`; a random one is at 1 on average."""
    marks = marks_of(gaps)
    searches = list(gaps.groupby(gaps["search"].astype(str))["gap"].mean().sort_values().index)
    figure, axes = style.new_figure(1.1 + 0.28 * len(searches))
    ax = axes[0, 0]
    for i, search in enumerate(searches):
        values = np.sort(gaps.loc[gaps["search"] == search, "gap"].to_numpy(float))
        jitter = 0.22 * np.sin(2.4 * np.arange(len(values)))
        marks[search].draw(ax, values, i + jitter, alpha=0.6, mew=0.3, ms=4)
        ax.plot(values.mean(), i, marker="|", color=INK, ms=14, mew=1.6)
    ax.axvline(0, color=INK, lw=0.8)
    ax.axvline(1, color=QUIET, lw=0.8, ls="--")
    ax.annotate("mean of all subsets", (1, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=7)
    ax.set_yticks(range(len(searches)), [short(s) for s in searches])
    ax.set(xlabel="optimality gap: 0 is the best subset (bar: mean)", ylabel="search")
    ax.invert_yaxis()
    return figure


@style.styled
def rank_agreement(pairs: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Draws the rank of each search by perplexity against its rank by accuracy (the study's Figure 2).

    The pairs have `model`, `budget`, `calib_config`, `search`, `perplexity_rank`, `accuracy_rank` (1 is best); the
    correlations are those of `perplexity_against_accuracy`.
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


@style.styled
def values_against_each_other(values: pd.DataFrame, labels: tuple[str, str]) -> Figure:
    """Draws accuracy against perplexity as measured, with standard errors over seeds.

    The values have `model`, `budget`, `search`, `perplexity`, `perplexity_stderr`, `accuracy`, `accuracy_stderr`.
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
