"""What all figures share: colours, markers, size of text, and grids of panels.

Colours are those of Okabe and Ito (2008), told apart with every common colour blindness; hatches, markers and
lightness tell them apart in grey.
"""

import math
from collections.abc import Iterable
from itertools import cycle
from textwrap import wrap
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from deprune.analysis import design
from deprune.analysis.types import Array

CALIBRATION, SEARCH, BOTH, SEED, CONDITION = "#0072B2", "#E69F00", "#CC79A7", "#FFFFFF", "#D9D9D9"
INK, QUIET = "#222222", "#8A8A8A"

WIDTH = 7.2  # width of a figure [inch]: two columns of a paper
MAX_PANELS = 12
MAX_LABEL = 34

RC: dict[Any, Any] = {
    "font.size": 8.5, "axes.titlesize": 8.5, "axes.labelsize": 8.5, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False,
    "hatch.linewidth": 0.6, "lines.linewidth": 1.2, "lines.markersize": 4.5, "axes.titlelocation": "left",
    "figure.facecolor": "white", "axes.grid": False, "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a dollar sign in the name of a model is a dollar sign
}  # fmt: skip

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "d", "8", "H")


class Mark(NamedTuple):
    """How a search is drawn."""

    colour: str
    marker: str

    def draw(self, ax: Axes, x: Any, y: Any, **options: Any) -> None:
        """Draws points that are not joined."""
        ax.plot(x, y, marker=self.marker, color=self.colour, **{"lw": 0, "mec": INK, "mew": 0.4, **options})


def marks_of(table: pd.DataFrame) -> dict[str, Mark]:
    """Returns how each search is drawn: the same in all figures of tables that come from the same runs."""
    pairs = zip(cycle(_COLOURS), cycle(_MARKERS), strict=False)
    return {search: Mark(*pair) for search, pair in zip(_declared(table), pairs, strict=False)}


styled = mpl.rc_context(RC)
"""Decorator: draws in the style of this module, and leaves matplotlib's settings as they were."""


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Returns a figure and its axes `(rows, columns)`; no window, whatever the backend is."""
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(wspace=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels_of(table: pd.DataFrame, within: list[str], height: float) -> tuple[Figure, list[tuple[Axes, Any, Any]]]:
    """Returns a figure with a panel for each of the first conditions of a table, named; its axes, keys and rows."""
    groups = list(table.groupby(within, observed=True))[:MAX_PANELS]
    columns = 2 if len(groups) == 4 else min(3, len(groups))
    n_rows = math.ceil(len(groups) / columns)
    figure, axes = new_figure(n_rows * height + 0.5, n_rows, columns)
    for ax, (key, _) in zip(axes.flat, groups, strict=False):
        ax.set_title(condition_name(key))
    for spare in axes.flat[len(groups) :]:
        spare.remove()
    return figure, [(ax, key, rows) for ax, (key, rows) in zip(axes.flat, groups, strict=False)]


def short(text: object, length: int = MAX_LABEL) -> str:
    """Returns a label that fits: names from records may be of any length."""
    label = " ".join(str(text).split())
    return label if len(label) <= length else label[: length - 1] + "…"


def condition_name(parts: Iterable[object]) -> str:
    """Returns the label of a model, a budget, and what else there is to a condition and its calibration."""
    model, budget, *rest = parts
    return "\n".join([f"{short(model)}, k = {budget}", *map(short, rest)])


def name_axes(figure: Figure, x: str, y: str) -> None:
    """Names the axes of a grid of panels on its outer side only."""
    axes = figure.axes
    grid = axes[0].get_gridspec()
    columns = grid.ncols if grid is not None else 1
    for ax in axes[-columns:]:
        ax.set_xlabel(x)
    for ax in axes[::columns]:
        ax.set_ylabel("\n".join(wrap(y, 26)))


def offsets(n: int, width: float) -> Array:
    """Returns small shifts that keep n markers apart where their values are equal."""
    return width * (np.arange(n) / max(n - 1, 1) - 0.5)


def searches_of(table: pd.DataFrame) -> list[str]:
    """Returns the searches of a table in their order."""
    used = set(table[design.SEARCH])
    return [search for search in _declared(table) if search in used]


def _declared(table: pd.DataFrame) -> list[str]:
    """Returns the searches of a table and those that it could have, in their order."""
    column = table[design.SEARCH]
    return list(column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(set(column)))


def search_legend(figure: Figure, table: pd.DataFrame, **line: Any) -> None:
    """Adds one legend of a table's searches below the figure."""
    marks = [(search, marks_of(table)[search]) for search in searches_of(table)]
    handles = [Line2D([], [], color=mark.colour, marker=mark.marker, label=short(s), **line) for s, mark in marks]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), handlelength=1.6)
