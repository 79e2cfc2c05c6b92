"""What runs are a function of, entry by entry: tells settings of one name apart, and refuses what cannot be pooled."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from deprune.analysis import design
from deprune.core.errors import AnalysisError
from deprune.core.suggestions import override

ABSENT = "null"  # the text of an entry that a run does not have: defaults stay out of identities


@dataclass(frozen=True)
class Identities:
    """The identities of runs: one row each, and a column for each part, such as `calib`, with its JSON text.

    Most runs share their parts with others, so these are categories; missing where there is none.
    """

    parts: pd.DataFrame

    @cached_property
    def _said(self) -> dict[str, list[dict[str, str]]]:
        """Part -> the entries of each of its kinds, as text."""
        kinds = {str(part): self.parts[part].cat.categories for part in self.parts}
        return {part: [dict(_entries(part, json.loads(text))) for text in texts] for part, texts in kinds.items()}

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """The names of all entries, such as `calib.n_samples`."""
        return tuple(dict.fromkeys(entry for kinds in self._said.values() for kind in kinds for entry in kind))

    def column(self, entry: str, runs: pd.DataFrame) -> pd.Series:
        """Returns an entry of some runs as text; missing where a dense run lacks the part that it belongs to."""
        part = entry.partition(".")[0]
        values = [kind.get(entry, ABSENT) if kind else None for kind in self._said[part]]
        codes = self.parts[part].cat.codes.reindex(runs.index, fill_value=-1).to_numpy()
        texts = np.array([*values, None], dtype=object)[codes]
        texts[pd.isna(texts) & ~runs["is_dense"].to_numpy(bool)] = ABSENT
        return pd.Series(texts, index=runs.index)

    def labels(self, factor: design.Factor, plain: pd.Series) -> pd.Series:
        """Adds what differs to plain levels that stand for several settings, such as `beam` of two widths."""
        part = factor.covers[0].partition(".")[0]
        if part not in self.parts or not factor.tells_settings_apart:
            return plain
        own = [{k: v for k, v in kind.items() if design.covering(k) == factor} for kind in self._said[part]]
        own.append({})
        kinds = pd.factorize(np.array([json.dumps(sorted(kind.items())) for kind in own], dtype=object))[0]
        settings = dict(zip(kinds.tolist(), own, strict=True))
        codes = kinds[self.parts[part].cat.codes.reindex(plain.index, fill_value=-1).to_numpy()]
        frame = pd.DataFrame({"level": plain.to_numpy(), "kind": codes})
        distinct = frame.drop_duplicates()
        if not distinct["level"].duplicated().any():
            return plain
        names = {
            (level, kind): _told_apart(level, settings[kind], [settings[k] for k in group["kind"]])
            for level, group in distinct.groupby("level")
            for kind in group["kind"]
        }
        return pd.Series([names[pair] for pair in zip(frame["level"], codes, strict=True)], index=plain.index)

    def refuse_pooling(self, runs: pd.DataFrame) -> None:
        """Makes sure that runs differ in nothing but factors.

        Raises:
            AnalysisError: They do; the message names every such entry, and how to tell the runs apart.
        """
        columns = {e: self.column(e, runs) for e in self.entries if design.covering(e) is None}
        varying = pd.DataFrame({e: column for e, column in columns.items() if column.nunique() > 1})
        if varying.empty:
            return
        most = varying.value_counts().index[0]
        levels = [int(text) if text.lstrip("-").isdecimal() else text for text in most]
        keeping = override("where", dict(zip(varying, levels, strict=True)))
        said = "; ".join(f"{e} ({design.name_levels(sorted(varying[e].dropna().unique()))})" for e in varying)
        raise AnalysisError(
            f"These runs differ in what is no factor, so they cannot be pooled: {said}; keep one kind with {keeping}."
        )


def text_of(value: Any) -> str:
    """Returns a level or an entry's value as text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str) else json.dumps(value)


def _entries(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields the entries of a part; a part that is null has none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _entries(f"{name}.{key}", inner)
    elif value is not None or "." in name:
        yield name, text_of(value)


def _told_apart(level: Any, own: dict[str, str], others: list[dict[str, str]]) -> str:
    differing = [k for k in sorted(own) if any(o.get(k, ABSENT) != own[k] for o in others)]
    return " ".join([str(level), *(f"{k.partition('.')[2] or k}={own[k]}" for k in differing)])
