"""What is explained: the responses of a run, as columns of numbers with their units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from deprune.analysis.read.results import Results
from deprune.core.errors import AnalysisError
from deprune.core.suggestions import unknown_name

LOGIT = "logit "
"""Before the name of an accuracy: the same on the logit scale."""

LOG_PERPLEXITY_CAP = math.log(2**17)
"""Above the logarithm of about the largest vocabulary in use a model is worse than guessing: it has diverged."""


@dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        name: `accuracy`, `accuracy of <task>`, each also after `logit `, `log perplexity`, `log perplexity of
            <corpus>` or `calibration loss increase`.
        unit: Of its values.
        values: One per run, missing where it was not measured; indexed as the runs.
        tasks: The tasks or corpora that it is the mean of.
        diverged: Whether the run's value was cut to the cap, or not finite.
    """

    name: str
    unit: str
    values: pd.Series
    tasks: tuple[str, ...]
    diverged: pd.Series


def response_names(results: Results) -> list[str]:
    """Returns the responses that these results have, the most important first."""
    tasks, corpora = _tasks(results, "acc"), _tasks(results, "log_perplexity")
    names = ["accuracy"] if tasks else []
    names += ["log perplexity"] if corpora else []
    names += ["calibration loss increase"] if results.runs["calib_value"].notna().any() else []
    return [*names, *(f"accuracy of {t}" for t in tasks), *(f"log perplexity of {c}" for c in corpora)]


def response(results: Results, name: str) -> Response:
    """Returns a response by name.

    Accuracies are in percentage points, each task counting the same; on request as the mean of log-odds, half an item
    added to both sides. The level of chance is not in the records and is not taken off. Perplexities are means of
    logarithms over corpora, cut at the logarithm of a large vocabulary. The loss on the calibration set counts
    as its increase over the dense model on the same set, for corpora differ before anything is removed.

    Raises:
        AnalysisError: There is no such response, scores are on different items, or losses have different units.
    """
    known = response_names(results)
    plain = name.removeprefix(LOGIT)
    if plain not in known or (plain != name and not plain.startswith("accuracy")):
        raise AnalysisError(unknown_name("response", name, known))
    if name == "calibration loss increase":
        return _calibration_increase(results)
    kind, _, task = plain.partition(" of ")
    metric = {"accuracy": "acc", "log perplexity": "log_perplexity"}[kind]
    tasks = (task,) if task else _tasks(results, metric)
    wide = _wide(results, metric, tasks)
    none = pd.Series(False, index=results.runs.index)
    if plain != name:
        n = _n_items(results, tasks)
        odds = (wide * n + 0.5) / (n - wide * n + 0.5)
        return Response(name, "logits", odds.map(math.log).mean(axis=1, skipna=False), tasks, none)
    if metric == "acc":
        return Response(name, "percentage points", 100 * wide.mean(axis=1, skipna=False), tasks, none)
    diverged = (wide > LOG_PERPLEXITY_CAP).any(axis=1)
    values = wide.clip(upper=LOG_PERPLEXITY_CAP).mean(axis=1, skipna=False)
    return Response(name, "nats per token", values, tasks, diverged)


def without_diverged(results: Results) -> Results:
    """Returns the results without diverged runs, to show an analysis with and without them."""
    kept = results.runs[~response(results, "log perplexity").diverged]
    return replace(results, runs=kept, scores=results.scores[results.scores["run_id"].isin(kept.index)])


def _n_items(results: Results, tasks: tuple[str, ...]) -> pd.Series:
    scores = results.scores[(results.scores["metric"] == "acc") & results.scores["task"].isin(tasks)]
    return scores.groupby(scores["task"].astype(str))["n_items"].first()


def _tasks(results: Results, metric: str) -> tuple[str, ...]:
    scores = results.scores
    return tuple(sorted(scores.loc[scores["metric"] == metric, "task"].astype(str).unique()))


def _wide(results: Results, metric: str, tasks: tuple[str, ...]) -> pd.DataFrame:
    """Returns one row per run and one column per task."""
    scores = results.scores[(results.scores["metric"] == metric) & results.scores["task"].isin(tasks)]
    # The windows of a corpus depend on the tokenizer, the items of a task do not.
    groups = ["task"] if metric == "acc" else ["model", "task"]
    sets = scores.groupby(groups, observed=True)["item_set"].nunique().groupby("task", observed=True).max()
    if (sets > 1).any():
        raise AnalysisError(
            f"The runs were not all scored on the same items of {', '.join(map(str, sets.index[sets > 1]))}, and such "
            "scores cannot be compared; keep one kind with where={'eval_limit': ...}."
        )
    long = scores.set_index([scores["run_id"].astype(str), scores["task"].astype(str)])["value"]
    if metric == "log_perplexity":
        long = long.fillna(np.inf)  # recorded as missing where it was not finite: an outcome, not a gap
    return long.unstack().reindex(index=results.runs.index, columns=list(tasks))


def _calibration_increase(results: Results) -> Response:
    runs = results.runs
    units = sorted(runs.loc[runs["calib_value"].notna(), "objective"].astype(str).unique())
    if len(units) > 1:
        raise AnalysisError(
            f"The objectives {', '.join(units)} measure different things, so their losses cannot be compared; "
            "keep one with where={'objective': ...}."
        )
    increase = runs["calib_value"] - runs["calib_value_dense"]
    none = pd.Series(False, index=runs.index)
    unit = str(runs["unit"].dropna().iloc[0])
    return Response("calibration loss increase", unit, increase, (), none)
