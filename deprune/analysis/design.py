"""Every factor of a study: its role, its place in a record, what of a run's identity it stands for, its order.

All grouping in the analysis asks this module. A new factor is one more entry of `FACTORS`: it is read from the
records, becomes a factor of every grid and part of the conditions within which anything is compared.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from deprune.record.schema import UNTREATED

SEARCH, OBJECTIVE, MODEL, SEED = "search", "objective", "model", "calib_seed"

CONDITION, CONFIGURATION = "condition", "calib_config"
"""Factors that stand for all existing combinations of others."""

OF_PRUNED = ("budget", "treatment")  # factors of conditions that a dense model has not
MAX_NAMED = 5


class Role(StrEnum):
    """What a factor is in the question of whether calibration or search matters; a replicate only repeats a run."""

    CONDITION = "condition"
    TREATMENT = "treatment"
    CALIBRATION = "calibration"
    SEARCH = "search"
    REPLICATE = "replicate"


WITHIN = (Role.CONDITION, Role.TREATMENT)
"""Roles of the factors that are held fixed wherever calibrations or searches are compared."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor.

    Attributes:
        name: Its column in the table of runs.
        role: What it is in the question.
        place: Where its level is in a record, and in the record of a failure.
        covers: Entries of the identity that it stands for, by name or as `part.*`, except those after `!`. What
            another factor covers by name is not its own. Where runs of one level differ in an entry, they become two
            levels.
        levels: Levels in the order of tables; others follow, by name.
        rank: Column of runs that orders the levels instead.
        tag: What stands before its level in the label of a configuration.
        leads: Whether its level comes first in there.
        default: The level of runs that say nothing of it; where there is no other, the factor is not mentioned.
    """

    name: str
    role: Role
    place: str
    covers: tuple[str, ...]
    levels: tuple[str, ...] = ()
    rank: str = ""
    tag: str = ""
    leads: bool = False
    default: str | None = None

    @property
    def tells_settings_apart(self) -> bool:
        """Whether a level is a name for several entries, in which runs of that name may differ."""
        return len(self.covers) > 1 or self.covers[0].endswith("*")

    def covers_one_like(self, entry: str) -> bool:
        """Whether an entry is among those that its patterns mean."""
        hit = any(fnmatchcase(entry, pattern) for pattern in self.covers)
        return hit and not any(fnmatchcase(entry, p[1:]) for p in self.covers if p.startswith("!"))


FACTORS = (
    Factor(name=MODEL, role=Role.CONDITION, place="factors.model", covers=("model.name", "model.revision")),
    Factor(name="budget", role=Role.CONDITION, place="factors.budget", covers=("budget",)),
    Factor(name="treatment", role=Role.TREATMENT, place="factors.treatment", covers=("treat", "treat.*"),
           levels=(UNTREATED,), default=UNTREATED),
    Factor(name="calib_dataset", role=Role.CALIBRATION, place="factors.calib_dataset", covers=("calib.*",)),
    Factor(name=OBJECTIVE, role=Role.CALIBRATION, place="factors.objective", covers=("objective.*",),
           levels=("nll", "kl", "task_margin", "task_error"), leads=True),
    Factor(name="calib_samples", role=Role.CALIBRATION, place="factors.calib_samples", covers=("calib.n_samples",),
           tag="n"),
    Factor(name="calib_seq_len", role=Role.CALIBRATION, place="factors.calib_seq_len", covers=("calib.seq_len",),
           tag="L"),
    Factor(name=SEARCH, role=Role.SEARCH, place="factors.search", covers=("search.*", "!search.protect_*"),
           rank="search_order"),
    Factor(name=SEED, role=Role.REPLICATE, place="factors.calib_seed", covers=("calib.seed",)),
    Factor(name="search_seed", role=Role.REPLICATE, place="factors.search_seed", covers=("search.seed",)),
)  # fmt: skip


def names(*roles: Role) -> tuple[str, ...]:
    """Returns the names of the factors of some roles, by default of all that a grid can have."""
    return tuple(f.name for f in FACTORS if (f.role in roles if roles else f.role != Role.REPLICATE))


def factor(name: str) -> Factor:
    """Returns a factor by its name."""
    return next(f for f in FACTORS if f.name == name)


def factors_of(frame: pd.DataFrame, *roles: Role) -> tuple[str, ...]:
    """Returns the factors of some roles that a table has, by default of all that a grid can have."""
    return tuple(name for name in names(*roles) if name in frame)


def is_silent(name: str, levels: Iterable[object]) -> bool:
    """Whether a factor is not mentioned, for it has no level but what runs have that say nothing of it."""
    return factor(name).default is not None and {*levels} <= {factor(name).default}


def conditions(frame: pd.DataFrame) -> list[str]:
    """Returns the columns within whose combinations calibrations and searches are compared."""
    return [name for name in factors_of(frame, *WITHIN) if not is_silent(name, frame[name].dropna().unique())]


def configurations(frame: pd.DataFrame) -> list[str]:
    """Returns the columns within whose combinations searches are compared."""
    return [*conditions(frame), CONFIGURATION]


def draws_of(runs: pd.DataFrame) -> pd.Series:
    """Returns the calibration draw of each run: what shares it is not independent."""
    return runs["calib_sample_id"].fillna(runs["draw_id"])


def joint() -> dict[str, tuple[str, ...]]:
    """Returns the factors that stand for combinations of others, with these."""
    return {CONDITION: names(*WITHIN), CONFIGURATION: names(Role.CALIBRATION)}


def grid_order() -> tuple[str, ...]:
    """Returns all factors of grids in the order in which terms name them."""
    return (CONDITION, *names(*WITHIN), CONFIGURATION, *names(Role.CALIBRATION, Role.SEARCH))


def label_parts(frame: pd.DataFrame) -> list[Factor]:
    """Returns the calibration factors that a table has, in the order of labels of configurations."""
    return sorted((factor(n) for n in factors_of(frame, Role.CALIBRATION)), key=lambda f: not f.leads)


def configuration_labels(runs: pd.DataFrame) -> list[str]:
    """Returns the label of each run's calibration configuration."""
    columns = [part.tag + runs[part.name].astype(str) for part in label_parts(runs)]
    return [" ".join(parts) for parts in zip(*columns, strict=True)]


def ordered_levels(name: str, levels: Iterable[str], ranks: Mapping[str, float] | None = None) -> list[str]:
    """Returns the levels of a factor, or of another column, in the order in which tables and figures show them.

    Levels without a rank, or without a place among those that the factor names, follow by name.
    """
    known = {level: i for f in FACTORS if f.name == name for i, level in enumerate(f.levels)}
    order: Mapping[str, float] = known if ranks is None else ranks
    return sorted(levels, key=lambda v: (order.get(v, order.get(str(v).split(" ")[0], math.inf)), str(v)))


def ranks_of(name: str, runs: pd.DataFrame) -> dict[str, float] | None:
    """Returns the order of a factor's levels that the records say; those without one (dense runs) come first."""
    column = next((f.rank for f in FACTORS if f.name == name), "")
    if column not in runs:
        return None
    ranks = runs[column].astype("float64").groupby(runs[name].astype(str)).min().fillna(-1.0)
    return {str(level): float(rank) for level, rank in ranks.items()}


def covering(entry: str) -> Factor | None:
    """Returns the factor that stands for an entry of the identity, such as `calib.n_samples`."""
    named = next((f for f in FACTORS if entry in f.covers), None)
    return named or next((f for f in FACTORS if f.covers_one_like(entry)), None)


def value_at(record: Any, place: str) -> Any:
    """Returns what is at a place of a record, or of what its file says; None where there is nothing."""
    for name in place.split("."):
        record = record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)
    return record


def levels_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the levels that a file of any version names, also a flat one, to tell which levels lack runs."""
    levels = {name: value_at(content, factor(name).place) for name in names()}
    levels = {name: content.get(name) if level is None else level for name, level in levels.items()}
    found = {name: level for name, level in levels.items() if isinstance(level, str | int)}
    defaults = {f.name: f.default for f in FACTORS if f.default is not None}
    return {**defaults, **found} if found else {}


def name_levels(levels: Sequence[object]) -> str:
    """Returns the first few of many names."""
    shown = ", ".join(map(str, levels[:MAX_NAMED]))
    return shown if len(levels) <= MAX_NAMED else f"{shown} and {len(levels) - MAX_NAMED} more"
