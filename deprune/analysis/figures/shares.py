"""Whose variance it is: calibration, search, both, seed."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from deprune.analysis.figures.style import BOTH, CALIBRATION, CONDITION, INK, SEARCH, SEED, new_figure, short, styled

PARTS = {
    "V_C": ("calibration", CALIBRATION, ""),
    "V_S": ("search", SEARCH, "////"),
    "V_CS": ("both together", BOTH, "...."),
    "V_seed": ("seed (another draw)", SEED, "xxxx"),
    "V_condition": ("model and budget", CONDITION, ""),
}


@styled
def variance_shares(headlines: pd.DataFrame, switches: pd.DataFrame) -> Figure:
    """Draws the shares of variance of several responses, of the total and within condition.

    Args:
        headlines: The headline tables of decompositions under each other, with a column `subject`.
        switches: `subject` and the texts `calibration` and `search`: the root-mean-square changes when one of them
            alone moves to another level.
    """
    subjects = list(dict.fromkeys(headlines["subject"]))
    figure, axes = new_figure(1.3 + 0.42 * len(subjects), 1, 2, sharey=True)
    titles = {"share": "of all variance", "share_within": "within model and budget"}
    for ax, (share, title) in zip(axes[0], titles.items(), strict=True):
        wide = headlines.pivot(index="subject", columns="quantity", values=share).reindex(subjects)
        _stack(ax, wide.drop(columns="V_condition") if share == "share_within" else wide)
        _whiskers(ax, headlines, subjects, share)
        ax.set(xlim=(0, 1), xlabel=f"share of variance, {title}")
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes[0, 0].set_yticks(range(len(subjects)), [short(s, 44) for s in subjects])
    axes[0, 0].invert_yaxis()
    for i, row in switches.set_index("subject").loc[subjects].reset_index().iterrows():
        axes[0, 1].text(1.03, i, f"C {row['calibration']}\nS {row['search']}", va="center", fontsize=7)
    axes[0, 1].text(1.03, -0.75, "switch RMS", va="center", fontsize=7)
    used = [name for name in PARTS if name in set(headlines["quantity"])]
    handles = [Patch(facecolor=PARTS[n][1], hatch=PARTS[n][2], edgecolor=INK, label=PARTS[n][0]) for n in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(used))
    return figure


def _stack(ax: Axes, wide: pd.DataFrame) -> None:
    left = np.zeros(len(wide))
    for name, (_, colour, hatch) in PARTS.items():
        if name in wide:
            value = wide[name].clip(lower=0).fillna(0).to_numpy(float)
            ax.barh(range(len(wide)), value, left=left, height=0.62, color=colour, hatch=hatch, edgecolor=INK, lw=0.5)
            left += value


def _whiskers(ax: Axes, headlines: pd.DataFrame, subjects: list[str], share: str) -> None:
    """Draws the intervals of V_C from zero, and of V_S from the end of V_C, above and below the bar's middle."""
    for i, subject in enumerate(subjects):
        rows = headlines[headlines["subject"] == subject].set_index("quantity")
        start = 0.0
        for name, offset in (("V_C", -0.38), ("V_S", 0.38)):
            if name in rows.index:
                value, *ends = (float(rows[f"{share}{end}"][name]) for end in ("", "_low", "_high"))
                ax.plot(start + np.array(ends), [i + offset] * 2, color=PARTS[name][1], lw=2)  # none where NaN
                ax.plot(start + np.array(ends), [i + offset] * 2, color=INK, lw=0, marker="|", ms=5)
                start += max(value, 0.0)


@styled
def seeds_used(shares: pd.DataFrame) -> Figure:
    """Draws shares against the number of calibration seeds used, to show whether intervals have settled.

    The shares have `subject`, `seeds`, `quantity`, `share_within` with `share_within_low` and `share_within_high`.
    """
    subjects = list(dict.fromkeys(shares["subject"]))
    figure, axes = new_figure(2.6, 1, len(subjects), sharey=True)
    styles = {"V_C": ("o", "-"), "V_S": ("s", "--"), "V_CS": ("^", ":")}
    for ax, subject in zip(axes[0], subjects, strict=True):
        part = shares[shares["subject"] == subject]
        for shift, (name, (marker, line)) in enumerate(styles.items()):
            rows = part[part["quantity"] == name]
            x = rows["seeds"] + 0.08 * (shift - 1)
            label, colour, _ = PARTS[name]
            low, high = (rows[f"share_within_{end}"].fillna(rows["share_within"]) for end in ("low", "high"))
            ax.vlines(x, low, high, color=colour)
            ax.plot(x, rows["share_within"], marker=marker, ls=line, color=colour, label=label, mec=INK, mew=0.5)
        ax.set(title=short(subject), xlabel="calibration seeds used")
        ax.set_xticks(sorted(set(part["seeds"])))
    axes[0, 0].set_ylabel("share within condition")
    axes[0, 0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
