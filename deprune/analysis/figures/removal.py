"""Which blocks go."""

from collections.abc import Iterable
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deprune.analysis import design
from deprune.analysis.figures.shares import PARTS
from deprune.analysis.figures.style import INK, QUIET, condition_name, new_figure, short, styled


@styled
def removal_patterns(frequency: pd.DataFrame, model: str) -> Figure:
    """Draws which blocks each search removes at each calibration; shading is the share of seeds (the study's Figure 1).

    The table is that of `removal_frequency`.
    """
    groups = list(frequency.groupby(design.conditions(frequency), observed=True))
    keys = ["calibration", "search", "block"]
    tables = [group.set_index(keys)["removed"].unstack().dropna(how="all") for _, group in groups]
    height = max(2.6, 1.2 + 0.15 * max(map(len, tables)))  # the label of the colours is as long as that
    figure, axes = new_figure(height, 1, len(groups))
    for ax, table, (key, _) in zip(axes[0], tables, groups, strict=True):
        image = ax.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_title(", ".join([f"{short(model)}, {key[0]} blocks removed", *map(str, key[1:])]))
        _label_rows(ax, table.index, with_groups=ax is axes[0, 0])
        ax.set_xlabel("block")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    shrink = min(1, 20 / len(tables[0]))
    figure.colorbar(image, ax=axes[0].tolist(), label="share of runs that remove it", shrink=shrink)
    return figure


def _label_rows(ax: Axes, index: pd.Index, *, with_groups: bool) -> None:
    """Names the search of each row, and the calibration of each group of rows."""
    ax.set_yticks(range(len(index)), [short(search, 18) for _, search in index] if with_groups else [])
    ax.tick_params(axis="y", length=0, labelsize=7)
    start = 0
    for name, group in groupby(calibration for calibration, _ in index):
        end = start + len(list(group))
        if start:
            ax.axhline(start - 0.5, color=INK, lw=0.8)
        if with_groups:
            ax.annotate(
                short(name, 20), (0, (start + end - 1) / 2), xycoords=("axes fraction", "data"), xytext=(-78, 0),
                textcoords="offset points", rotation=90, ha="center", va="center", fontsize=7,
            )  # fmt: skip
        start = end


@styled
def block_shares(by_block: pd.DataFrame, model: str) -> Figure:
    """Draws the variance of each block's removal by its origin, from the table `by_block` of `Patterns`."""
    figure, axes = new_figure(2.7)
    ax, block = axes[0, 0], by_block["block"]
    bottom = np.zeros(len(by_block))
    for name, (label, colour, hatch) in PARTS.items():
        if name in by_block:
            value = by_block[name].clip(lower=0).to_numpy(float)
            ax.bar(block, value, bottom=bottom, color=colour, hatch=hatch, edgecolor=INK, lw=0.4, label=label)
            bottom += value
    observed = by_block["removed"] * (1 - by_block["removed"])
    ax.plot(block, observed, color=INK, lw=0, marker="_", ms=7, label="all, as observed")
    ax.set(xlabel="block", ylabel="variance of being removed", title=short(model))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def consensus_matrix(similarity: pd.DataFrame, condition: Iterable[object]) -> Figure:
    """Draws how alike the patterns of every two (calibration, search) are; calibrations stand together.

    The table is that of `deprune.analysis.patterns.similarity.similarity` at the condition, which is in the title.
    """
    n = len(similarity)
    figure, axes = new_figure(min(1.8 + 0.16 * n, 6.6))
    ax = axes[0, 0]
    ax.set_facecolor("white")
    # The lightness of viridis rises evenly, so it reads in grey.
    image = ax.imshow(similarity.to_numpy(), cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=ax, label="chance-corrected Jaccard similarity", extend="min")
    ceiling = pd.Series(np.diag(similarity)).mean()
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 (chance)", "0.25", "0.5", "0.75", "1 (identical)"])
    if np.isfinite(ceiling):
        bar.ax.axhline(ceiling, color="white", lw=3)
        bar.ax.axhline(ceiling, color=INK, lw=1.2)
        bar.set_label(f"chance-corrected Jaccard similarity\n(black line: another seed, {ceiling:.2f})")
    calibrations, searches = (similarity.index.get_level_values(level) for level in (0, 1))
    edges = np.flatnonzero(calibrations[1:] != calibrations[:-1]) + 0.5
    for edge in edges:
        ax.axhline(edge, color="white", lw=1.5)
        ax.axvline(edge, color="white", lw=1.5)
    middles = [(a + b) / 2 for a, b in pairwise([-0.5, *edges, n - 0.5])]
    ax.set_yticks(range(n), [short(s, 18) for s in searches], fontsize=7)
    names = [short(name, 18) for name in dict.fromkeys(calibrations)]
    ax.set_xticks(middles, names, rotation=20, ha="right", fontsize=7)
    ax.set_title(condition_name(condition))
    ax.set(xlabel="calibration (searches in the order of the rows)", ylabel="search, by calibration")
    ax.spines[:].set_color(QUIET)
    return figure
