"""Runs laid out on a grid of factors, with their calibration draws; and what such a grid cannot say."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.analysis.design import name_levels
from deprune.analysis.types import Array
from deprune.analysis.variance.factor_grid import Grid
from deprune.core.errors import AnalysisError
from deprune.core.suggestions import unknown_name

SEARCH = design.SEARCH

Columns: TypeAlias = dict[str, tuple[Array, tuple[object, ...]]]
"""Factor -> the level of each run as a number, and the levels."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Values of one response on a grid.

    Attributes:
        grid: The factors that vary.
        values: One value per run, `(n,)`, or a vector per run, `(n, K)`.
        cells: Cell of each run, `(n,)`.
        seeds: Index of the calibration seed, `(n,)`: runs of one index are one replicate of the grid.
        draws: Index of the calibration draw, `(n,)`: what shares it is not independent.
        rows: The runs, in the same order.
        notes: Sentences on what was left out or joined.
    """

    grid: Grid
    values: Array
    cells: Array
    seeds: Array
    draws: Array
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def n_draws(self) -> int:
        """Number of independent calibration draws."""
        return len(np.unique(self.draws))

    @property
    def n_seeds(self) -> int:
        """Number of replicates of the grid."""
        return int(self.seeds.max()) + 1

    @property
    def places(self) -> Array:
        """Place of each run among all replicates and cells, `(n,)`."""
        return self.seeds * self.grid.n_cells + self.cells

    @cached_property
    def counts(self) -> Array:
        """Number of runs in each replicate and cell, `(n_seeds, n_cells)`."""
        shape = (self.n_seeds, self.grid.n_cells)
        return np.bincount(self.places, minlength=math.prod(shape)).reshape(shape)

    @property
    def is_complete(self) -> bool:
        """Whether every cell has a run of every seed."""
        return bool((self.counts > 0).all())

    @property
    def n_cells_missing(self) -> int:
        """Number of cells without a run."""
        return int((self.counts.sum(axis=0) == 0).sum())

    @property
    def missing(self) -> pd.DataFrame:
        """The runs that the grid lacks, by their factors, calibration seed last."""
        laid_out = self.laid_out
        return laid_out[~laid_out["exists"]].drop(columns=["draw", "exists"]).reset_index(drop=True)

    @property
    def holes(self) -> str:
        """A sentence that names the first missing runs; empty where there is none."""
        missing = self.missing
        if missing.empty:
            return ""
        told = [*(f for f in missing.columns if self.laid_out[f].nunique(dropna=False) > 1)]
        names = [
            " ".join(f"{f}={level}" for f, level in zip(told, row, strict=True)) for row in missing[told].to_numpy()
        ]
        return f"{len(names)} of {self.counts.size} runs are missing: {name_levels(names)}."

    @cached_property
    def laid_out(self) -> pd.DataFrame:
        """All places with their factors, the calibration `draw`, and whether a run `exists`; indexed by place.

        Levels of a missing run are those of its cell; its draw is that of the runs that agree with it in all that a
        draw has in common, or −1 where there is none.
        """
        names = [*design.factors_of(self.rows), design.SEED]
        found = self.rows[names].assign(draw=self.draws).set_index(self.places)
        found = found[~found.index.duplicated()].assign(exists=True)
        empty = np.flatnonzero(self.counts.ravel() == 0)
        if not len(empty):
            return found.sort_index()
        own = np.unravel_index(self.cells, self.grid.shape)
        asked = np.unravel_index(empty % self.grid.n_cells, self.grid.shape)
        columns = {design.SEED: (self.seeds, empty // self.grid.n_cells)}
        for factor, known, wanted in zip(self.grid.factors, own, asked, strict=True):
            columns |= dict.fromkeys(design.joint().get(factor, (factor,)), (known, wanted))
        lacking = pd.DataFrame(index=empty)
        for name in names:
            known, wanted = columns.get(name, (np.zeros_like(self.cells), np.zeros_like(empty)))
            first = np.unique(known, return_index=True)[1]
            lacking[name] = self.rows[name].iloc[first[wanted]].array
        common = [n for n in names if found.groupby("draw")[n].nunique(dropna=False).max() == 1]
        draws = found.drop_duplicates(common)[[*common, "draw"]]
        lacking = lacking.merge(draws, on=common, how="left").set_index(empty)
        lacking = lacking.assign(draw=lacking["draw"].fillna(-1).astype(int), exists=False)
        return pd.concat([found, lacking]).sort_index()

    @property
    def calibration(self) -> tuple[str, ...]:
        """The factors of the grid that belong to the calibration configuration."""
        return tuple(f for f in self.grid.factors if f in (*design.joint()[design.CONFIGURATION], design.CONFIGURATION))

    @property
    def calibration_factors(self) -> tuple[str, ...]:
        """All factors of the calibration configuration, also those that the grid joins or that do not vary."""
        return design.factors_of(self.rows, design.Role.CALIBRATION)

    def cube(self, values: Array | None = None) -> Array:
        """Returns mean values by replicate and cell, `(n_seeds, n_cells)`, not a number where there is no run.

        Several search seeds on one draw are averaged: they are no replicates of the draw. The values are one per run,
        `(n,)` or `(n, K)`, by default the panel's own; the K come first in what is returned.
        """
        values = self.values if values is None else values
        sums = np.zeros((self.n_seeds * self.grid.n_cells, *values.shape[1:]))
        np.add.at(sums, self.places, values)
        with np.errstate(invalid="ignore"):
            means = sums / self.counts.reshape(-1, *[1] * (values.ndim - 1))
        return np.moveaxis(means.reshape(self.n_seeds, self.grid.n_cells, *values.shape[1:]), (0, 1), (-2, -1))

    @cached_property
    def blocks(self) -> tuple[Array, ...]:
        """The calibration draws, aligned so that they can be exchanged.

        Returns:
            One array `(m, c)` for every kind of draw: the places (seed × n_cells + cell) of the c
            cells that belong to each of m draws, in the same order for all, whether a run exists or not.
        """
        frame, factors = self.laid_out[self.laid_out["draw"] >= 0], design.factors_of(self.rows)
        codes = {factor: pd.factorize(frame[factor], use_na_sentinel=False)[0] for factor in factors}
        frame = pd.DataFrame({"place": frame.index, "draw": frame["draw"].to_numpy(), **codes})
        inner = [f for f in factors if frame.groupby("draw")[f].nunique().max() > 1]
        frame = frame.sort_values(["draw", *inner, "place"])
        levels, places = frame[inner].to_numpy(), frame["place"].to_numpy()
        ends = [*np.flatnonzero(np.diff(frame["draw"])) + 1, len(frame)]
        by_kind: dict[bytes, list[Array]] = {}
        for start, end in itertools.pairwise([0, *ends]):
            by_kind.setdefault(levels[start:end].tobytes(), []).append(places[start:end])
        return tuple(np.stack(places) for places in by_kind.values())


def build_panel(runs: pd.DataFrame, response: pd.DataFrame | pd.Series, factors: Sequence[str] | None = None) -> Panel:
    """Lays the pruned among some runs out on the grid of their factors.

    The response is a value per run, or several, with the index of `runs`. The factors are by default all that vary;
    where not every combination of the calibration factors exists, `calib_config` replaces them, and where not every
    model has every budget (and treatment), `condition` replaces these.

    Raises:
        AnalysisError: The response is missing in half of the runs, a factor does not vary, one that varies is
            left out, combinations are missing, or runs repeat each other.
    """
    pruned = runs[~runs["is_dense"]]
    response = response.to_frame() if isinstance(response, pd.Series) else response
    present = response.loc[pruned.index].notna().all(axis=1)
    if present.empty:
        raise AnalysisError("There is no pruned run to analyse; runs with budget=0 are only the reference.")
    if 2 * present.sum() <= len(present):
        raise AnalysisError(
            f"The response {response.columns[0]} is missing in {(~present).sum()} of {len(present)} pruned runs; "
            "choose runs that have it with where={...}, or another response."
        )
    rows, notes = pruned[present], []
    if not present.all():
        notes.append(f"{(~present).sum()} of {len(present)} pruned runs lack the response and are left out.")
    columns = {f: _codes(rows[f]) for f in design.factors_of(rows)}
    chosen = _choose(columns, factors, notes)
    levels = {f: columns[f] if f in columns else _joint(columns, design.joint()[f]) for f in chosen}
    grid = Grid(chosen, tuple(names for _, names in levels.values()))
    cells = np.zeros(len(rows), dtype=int)
    for codes, names in levels.values():
        cells = cells * len(names) + codes
    draws = rows["calib_sample_id"] if rows["calib_sample_id"].notna().all() else rows["draw_id"]
    values = response.loc[rows.index].to_numpy(float)
    panel = Panel(
        grid=grid, values=values[:, 0] if values.shape[1] == 1 else values, cells=cells,
        seeds=_codes(rows[design.SEED])[0], draws=pd.factorize(draws, use_na_sentinel=False)[0], rows=rows,
        notes=tuple(notes),
    )  # fmt: skip
    _check_repeats(panel)
    return panel


def combinations_of(rows: pd.DataFrame, factors: Sequence[str]) -> Array:
    """Returns one number for each combination of levels, `(n,)`."""
    return rows.assign(all=0).groupby(["all", *factors], observed=True, dropna=False).ngroup().to_numpy()


def alias_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the pairs of factors of which not every combination was run.

    Returns:
        `first`, `second`, `combinations` that exist and `of` how many; a pair with as many combinations as
        the larger of the two has levels cannot be told apart.
    """
    pruned = runs[~runs["is_dense"]]
    columns = {f: _codes(pruned[f]) for f in design.factors_of(pruned)}
    varying = [f for f, (_, names) in columns.items() if len(names) > 1]
    rows = []
    for first, second in itertools.combinations(varying, 2):
        if missing := _missing_combinations(columns, (first, second)):
            possible = len(columns[first][1]) * len(columns[second][1])
            rows.append((first, second, possible - missing, possible))
    return pd.DataFrame(rows, columns=["first", "second", "combinations", "of"])


def _codes(column: pd.Series) -> tuple[Array, tuple[object, ...]]:
    """Returns the level of each row as a number, and the levels in the column's order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
        if not column.isna().any():
            return column.cat.codes.to_numpy(int), tuple(column.cat.categories)
    codes, levels = pd.factorize(column, sort=True, use_na_sentinel=False)
    return codes, tuple("not stated" if pd.isna(level) else level for level in levels)


def _joint(columns: Columns, parts: Sequence[str]) -> tuple[Array, tuple[object, ...]]:
    """Returns the factor whose levels are the combinations of other factors that exist."""
    own = [columns[f] for f in parts if f in columns]
    varying = [(codes, names) for codes, names in own if len(names) > 1] or own[:1]
    combinations, codes = np.unique(np.column_stack([c for c, _ in varying]), axis=0, return_inverse=True)
    names = (" ".join(str(n[i]) for (_, n), i in zip(varying, row, strict=True)) for row in combinations)
    return codes.ravel(), tuple(names)


def _choose(columns: Columns, factors: Sequence[str] | None, notes: list[str]) -> tuple[str, ...]:
    varying = [f for f, (_, names) in columns.items() if len(names) > 1]
    if factors is None:
        single = {f: names[0] for f, (_, names) in columns.items() if f not in varying}
        said = {f: level for f, level in single.items() if not design.is_silent(f, [level])}
        notes += [f"{f} has a single level, {level}, and is no factor here." for f, level in said.items()]
        chosen = list(varying)
        for name, parts in design.joint().items():
            group = [f for f in parts if f in varying]
            if missing := _missing_combinations(columns, group):
                chosen = [f for f in chosen if f not in group] + [name]
                combinations = f"{missing} combinations of {' × '.join(group)} do not exist"
                notes.append(f"{combinations}; {name} with the others is one factor.")
    else:
        chosen = _checked(columns, factors, varying)
    if not chosen:
        raise AnalysisError("No factor varies among these runs, so there is no variance to explain; run a grid.")
    return tuple(sorted(chosen, key=design.grid_order().index))


def _checked(columns: Columns, factors: Sequence[str], varying: Sequence[str]) -> list[str]:
    """Returns the factors that a user asked for, or says what is wrong with them."""
    joint = design.joint()
    covered = {part for f in factors for part in joint.get(f, (f,))}
    for factor in factors:
        if factor not in (*columns, *joint):
            raise AnalysisError(unknown_name("factor", factor, (*columns, *joint)))
        if factor in columns and factor not in varying:
            raise AnalysisError(
                f"The factor {factor} has a single level, {columns[factor][1][0]}, so nothing can be said about "
                "it; leave it out, or run more levels of it."
            )
    if left_out := [f for f in varying if f not in covered]:
        raise AnalysisError(
            f"{', '.join(left_out)} varies among these runs but is not among the factors, and its effect would be "
            "taken for noise; add it, or keep one level with where={...}."
        )
    for name, parts in joint.items():
        group = [f for f in factors if f in parts]
        if missing := _missing_combinations(columns, group):
            raise AnalysisError(
                f"{missing} combinations of {' × '.join(group)} have no run, so that interaction cannot be "
                f"estimated; use the factor {name} in place of them, or run the missing ones."
            )
    return list(factors)


def _missing_combinations(columns: Columns, group: Sequence[str]) -> int:
    if len(group) < 2:
        return 0
    existing = set(zip(*(columns[f][0] for f in group), strict=True))
    return math.prod(len(columns[f][1]) for f in group) - len(existing)


def _check_repeats(panel: Panel) -> None:
    rows = panel.rows
    key = pd.DataFrame({"cell": panel.cells, "seed": panel.seeds, "search": rows["search_seed"].fillna(-1).to_numpy()})
    repeated = key.duplicated(keep=False).to_numpy()
    if not repeated.any():
        return
    same = rows[repeated].groupby(key[repeated].groupby([*key]).ngroup().to_numpy())
    known = [name for name in ("model_revision", "calib_sample_id", "device") if name in rows]
    differing = [name for name in known if same[name].nunique(dropna=False).max() > 1]
    raise AnalysisError(
        f"{repeated.sum()} runs have the same factors and seeds as another; they differ in "
        f"{', '.join(differing) or 'settings that are no factor'}; keep one of them with where={{...}}."
    )
