"""Draws `coverage.svg` from `estimates.csv`: python experiments/statistics/plot.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

HERE = Path(__file__).parent
# Okabe and Ito's colours, told apart by the colour-blind, and markers for print in grey.
STYLES = {"V_C": ("#0072B2", "o"), "V_S": ("#D55E00", "s"), "V_CS": ("#009E73", "^"), "log ratio": ("black", "D")}


def main() -> None:
    """Draws bias in standard errors of the simulation, and coverage, by scenario."""
    table = pd.read_csv(HERE / "estimates.csv")
    scenarios = list(dict.fromkeys(table["scenario"]))[::-1]
    places = {name: i for i, name in enumerate(scenarios)}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 6.5), sharey=True, constrained_layout=True)
    for shift, (quantity, (colour, marker)) in zip((0.24, 0.08, -0.08, -0.24), STYLES.items(), strict=True):
        rows = table[table["quantity"] == quantity]
        y = [places[s] + shift for s in rows["scenario"]]
        style = {"fmt": marker, "color": colour, "markersize": 4, "linewidth": 1, "label": quantity}
        if quantity != "log ratio":
            left.errorbar(rows["bias"], y, xerr=1.96 * rows["bias_se"], **style)
        right.errorbar(rows["coverage"], y, xerr=1.96 * rows["coverage_se"], **style)
    left.axvline(0, color="grey", linewidth=0.8, zorder=0)
    left.set_xlabel("bias [points of a total of about 100]\nbars: 95 % Monte Carlo error")
    right.axvspan(0.92, 0.98, color="0.9", zorder=0)
    right.axvline(0.95, color="grey", linewidth=0.8, zorder=0)
    right.set_xlabel("coverage of the 95 % interval\ngrey: 92 to 98 %")
    left.set_yticks(range(len(scenarios)), scenarios)
    right.legend(loc="lower left", frameon=False)
    figure.savefig(HERE / "coverage.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
