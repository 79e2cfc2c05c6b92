"""What is explained: the responses of a run, made from the rows of scores, as columns of numbers with their units."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from deprune.analysis.design import OBJECTIVE
from deprune.analysis.read.results import Results
from deprune.core.errors import AnalysisError
from deprune.core.suggestions import override, unknown_name
from deprune.record.schema import ACCURACY, LOG_PERPLEXITY, NATS_PER_TOKEN, SHARE

INCREASE = "calibration loss increase"  # the one response that is not made from scores
LOGIT = "logit "  # before the name of a response that is a share of items: the same on the logit scale
FIRST = (ACCURACY, LOG_PERPLEXITY)  # kinds that come before others

UNITS = {SHARE: ("percentage points", 100.0), NATS_PER_TOKEN: ("nats per token", 1.0)}
"""Unit of rows -> the unit that is shown, and what a value is multiplied with; others are shown as they are."""

LOG_PERPLEXITY_CAP = math.log(2**17)
"""Above the logarithm of about the largest vocabulary in use a model is worse than guessing: it has diverged."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a response is.

    Attributes:
        kind: What the rows call it, such as `accuracy`; or `calibration loss increase`.
        task: The task or corpus; None for the mean over all, each counting the same.
        tasks: The tasks or corpora that it is the mean of.
        row_unit: Unit of the rows.
        higher_is_better: Whether it is.
        chance: What guessing gives, in `unit`; None where that is not known.
        on_logits: Whether it is on the logit scale.
    """

    kind: str
    task: str | None
    tasks: tuple[str, ...]
    row_unit: str
    higher_is_better: bool
    chance: float | None = None
    on_logits: bool = False

    @property
    def name(self) -> str:
        """What users call it, such as `accuracy`, `logit accuracy` or `log perplexity of c4`."""
        return self.on_logits * LOGIT + (self.kind if self.task is None else f"{self.kind} of {self.task}")

    @property
    def _shown(self) -> tuple[str, float]:
        as_it_is = (self.row_unit, 1.0)
        return UNITS.get(self.row_unit, as_it_is) if self.tasks else as_it_is

    @property
    def unit(self) -> str:
        """Of its values."""
        return "logits" if self.on_logits else self._shown[0]

    @property
    def scale(self) -> float:
        """What the value of a row is multiplied with."""
        return self._shown[1]

    @property
    def is_share(self) -> bool:
        """Whether it is a share of items, which has a logit."""
        return self.row_unit == SHARE and bool(self.tasks)

    @property
    def is_per_token(self) -> bool:
        """Whether its windows depend on the tokenizer."""
        return self.row_unit.endswith("/token")

    @property
    def is_mean_of_items(self) -> bool:
        """Whether it is the mean of numbers, one for each item, whose noise can be known."""
        return bool(self.tasks) and not self.on_logits and not self.is_per_token


@dataclass(frozen=True, kw_only=True)
class Measured(Response):
    """A response with its values.

    Attributes:
        values: One per run, missing where it was not measured; indexed as the runs.
        dense: The same of the dense model.
        diverged: Whether the run's value was cut to the cap, or not finite.
    """

    values: pd.Series
    dense: pd.Series
    diverged: pd.Series


def responses_of(results: Results) -> list[Response]:
    """Returns the responses that these results have, the most important first."""
    scores = results.scores.dropna(subset=["response"])
    found = {str(kind): scores[scores["response"] == kind] for kind in scores["response"].unique()}
    kinds = sorted(found, key=lambda kind: (FIRST.index(kind) if kind in FIRST else len(FIRST), kind))
    parts = {kind: list(_parts(kind, found[kind])) for kind in kinds}
    means = [_mean(parts[kind]) for kind in kinds]
    if results.runs["calib_value"].notna().any():
        unit = str(results.runs["unit"].dropna().iloc[0])
        means.append(Response(kind=INCREASE, task=None, tasks=(), row_unit=unit, higher_is_better=False))
    return [*means, *(part for kind in kinds for part in parts[kind])]


def response_names(results: Results) -> list[str]:
    """Returns the names of the responses that these results have, the most important first."""
    return [found.name for found in responses_of(results)]


def _parts(kind: str, scores: pd.DataFrame) -> Iterator[Response]:
    """Yields the response of each task or corpus."""
    firsts = scores.drop_duplicates("task").astype({"task": str}).sort_values("task")
    for row in firsts.to_dict("records"):
        task, unit, higher = row["task"], str(row["unit"]), bool(row["higher_is_better"])
        part = Response(kind=kind, task=task, tasks=(task,), row_unit=unit, higher_is_better=higher)
        yield part if pd.isna(row["chance"]) else replace(part, chance=part.scale * row["chance"])


def _mean(parts: list[Response]) -> Response:
    chances = [part.chance for part in parts if part.chance is not None]
    known = float(np.mean(chances)) if len(chances) == len(parts) else None
    return replace(parts[0], task=None, tasks=tuple(task for part in parts for task in part.tasks), chance=known)


def response(results: Results, name: str) -> Measured:
    """Returns a response by name.

    Shares are in percentage points, each task counting the same; on request as the mean of log-odds, half an item
    added to both sides. The level of chance is not taken off. Losses per token are means of
    logarithms over corpora, cut at the logarithm of a large vocabulary. The loss on the calibration set counts
    as its increase over the dense model on the same set, for corpora differ before anything is removed.

    Raises:
        AnalysisError: There is no such response, scores are on different items, or losses have different units.
    """
    known = responses_of(results)
    every = [*known, *(replace(found, on_logits=True) for found in known if found.is_share)]
    chosen = next((found for found in every if found.name == name), None)
    if chosen is None:
        raise AnalysisError(unknown_name("response", name, [found.name for found in known]))
    if chosen.kind == INCREASE and not chosen.tasks:
        return _calibration_increase(results, chosen)
    scores = rows_of(results, chosen)
    _check_alike(scores, chosen)
    wide, dense = (_wide(results, chosen, scores, column) for column in ("value", "dense_value"))
    diverged = pd.Series(False, index=results.runs.index)
    if chosen.row_unit == NATS_PER_TOKEN:
        diverged = (wide > LOG_PERPLEXITY_CAP).any(axis=1)
    values, of_dense = (_mean_over_tasks(chosen, table, scores) for table in (wide, dense))
    return Measured(**vars(chosen), values=values, dense=of_dense, diverged=diverged)


def measured(results: Results, **responses: str) -> pd.DataFrame:
    """Returns the pruned runs that have all of some responses, with a column for each: its name -> the response's."""
    columns = {column: response(results, name).values for column, name in responses.items()}
    frame = results.runs.assign(**columns)
    return frame[~frame["is_dense"] & frame[list(columns)].notna().all(axis=1)]


def without_diverged(results: Results, name: str) -> Results:
    """Returns the results without runs that diverged in a response, to show an analysis with and without them."""
    kept = results.runs[~response(results, name).diverged]
    return replace(results, runs=kept, scores=results.scores[results.scores["run_id"].isin(kept.index)])


def rows_of(results: Results, chosen: Response) -> pd.DataFrame:
    """Returns the rows of scores that a response is made from."""
    scores = results.scores
    return scores[(scores["response"] == chosen.kind) & scores["task"].isin(chosen.tasks)]


def _check_alike(scores: pd.DataFrame, chosen: Response) -> None:
    # The windows of a corpus depend on the tokenizer, the items of a task do not.
    groups = ["model", "task"] if chosen.is_per_token else ["task"]
    sets = scores.groupby(groups, observed=True)["item_set"].nunique().groupby("task", observed=True).max()
    if (sets > 1).any():
        raise AnalysisError(
            f"The runs were not all scored on the same items of {', '.join(map(str, sets.index[sets > 1]))}, and such "
            "scores cannot be compared; keep one kind with where={...}."
        )
    differing = [column for column in ("unit", "higher_is_better") if scores[column].nunique() > 1]
    differing += ["metric"] * bool((scores.groupby("task", observed=True)["metric"].nunique() > 1).any())
    differing += ["scorer"] * bool(not differing and scores.duplicated(["run_id", "task"]).any())
    if differing:
        raise AnalysisError(
            f"The rows of the response {chosen.name} differ in {' and '.join(differing)}, so they do not measure the "
            "same; let the scorer give them responses of other names."
        )


def _wide(results: Results, chosen: Response, scores: pd.DataFrame, column: str) -> pd.DataFrame:
    """Returns one row per run and one column per task."""
    long = scores.set_index([scores["run_id"].astype(str), scores["task"].astype(str)])[column]
    if chosen.row_unit == NATS_PER_TOKEN and column == "value":
        long = long.fillna(np.inf)  # recorded as missing where it was not finite: an outcome, not a gap
    return long.unstack().reindex(index=results.runs.index, columns=list(chosen.tasks))


def _mean_over_tasks(chosen: Response, wide: pd.DataFrame, scores: pd.DataFrame) -> pd.Series:
    if chosen.on_logits:
        n = scores.groupby(scores["task"].astype(str))["n_items"].first()
        return ((wide * n + 0.5) / (n - wide * n + 0.5)).map(math.log).mean(axis=1, skipna=False)
    if chosen.row_unit == NATS_PER_TOKEN:
        wide = wide.clip(upper=LOG_PERPLEXITY_CAP)
    return chosen.scale * wide.mean(axis=1, skipna=False)


def _calibration_increase(results: Results, chosen: Response) -> Measured:
    runs = results.runs
    units = sorted(runs.loc[runs["calib_value"].notna(), OBJECTIVE].astype(str).unique())
    if len(units) > 1:
        raise AnalysisError(
            f"The objectives {', '.join(units)} measure different things, so their losses cannot be compared; "
            f"keep one with {override('where', {OBJECTIVE: units[0]})}."
        )
    increase = runs["calib_value"] - runs["calib_value_dense"]
    none = pd.Series(False, index=runs.index)
    return Measured(**vars(chosen), values=increase, dense=pd.Series(0.0, index=runs.index), diverged=none)
