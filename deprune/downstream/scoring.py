"""Scores of pruned models, each computed once, whoever asks.

They lie in `<results>/downstream/<model>/<subset>.json`, readable by anyone and written atomically; when two jobs
compute the same at once, the same numbers are written twice. The folder stands for the dense model (content, dtype,
attention, device type), the file for subset and treatment, and an entry for a scorer on a subject (definition, items,
settings): everything that a score is a function of.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deprune.core.build import name_of
from deprune.core.errors import DepruneError, reason_of
from deprune.core.files import write_atomically
from deprune.core.fingerprint import digest_of
from deprune.core.memory import Memory
from deprune.downstream.base import Score, Scorer
from deprune.model.pruned import PrunedModel

log = logging.getLogger(__name__)

ScoresByScorer = dict[str, list[Score]]

_STORED = TypeAdapter(dict[str, tuple[Score, ...]])


def score_models(
    models: Sequence[PrunedModel], scorers: Mapping[str, Scorer], folder: Path, memory: Memory, *, fresh: bool = False
) -> list[ScoresByScorer]:
    """Returns the scores of pruned models of one dense model, computing only what `folder` lacks, or, if `fresh`, all.

    Raises:
        DepruneError: A scorer cannot score, or returned no row for what it was asked.
    """
    found: list[ScoresByScorer] = [{key: [] for key in scorers} for _ in models]
    for key, scorer in scorers.items():
        for subject in scorer.subjects():
            for scores, rows in zip(found, _rows(models, scorer, subject, folder, memory, fresh), strict=True):
                scores[key] += rows
    return found


def try_scorers(
    models: Sequence[PrunedModel], scorers: Mapping[str, Scorer], folder: Path, memory: Memory, n_items: int = 1
) -> None:
    """Scores few items of each subject by models that are built, unless the first has a score, so that faults show.

    Raises:
        DepruneError: A scorer cannot score, or returned no row for what it was asked.
    """
    for scorer in (s for s in scorers.values() if s.is_kept and s.builds_models()):
        for subject in scorer.subjects():
            if entry_of(models[0], scorer, subject, memory) not in _read(folder / scores_file(models[0])):
                for rows in _tried(models, scorer.shortened(n_items), subject, memory):
                    _complete(rows, scorer, subject)


def _tried(models: Sequence[PrunedModel], scorer: Scorer, subject: str, memory: Memory) -> Sequence[Sequence[Score]]:
    try:
        return scorer.score(subject, models, memory)
    except DepruneError:
        raise
    except Exception as error:  # whatever lm-eval or the code of a model raises
        loaded, why = models[0].loaded, reason_of(error)
        n_tokens, n_rows = len(loaded.tokenizer), loaded.stack.n_embeddings
        if n_tokens > n_rows:
            why = f"its tokenizer has {n_tokens} tokens and its embedding {n_rows} rows: {why}"
        cannot = f"The scorer {name_of(scorer)} cannot score {subject} on {loaded.config.label}"
        raise DepruneError(f"{cannot} ({why}); take it out of eval.") from error


def scores_file(model: PrunedModel) -> str:
    """Returns where the scores of a model lie, below the folder `downstream`."""
    return f"{model.place}.json"


def _rows(
    models: Sequence[PrunedModel], scorer: Scorer, subject: str, folder: Path, memory: Memory, fresh: bool
) -> list[Sequence[Score]]:
    if not scorer.is_kept:
        return [_complete(rows, scorer, subject) for rows in _tried(models, scorer, subject, memory)]
    entries = [entry_of(model, scorer, subject, memory) for model in models]
    paths = [folder / scores_file(model) for model in models]
    known = [{} if fresh else _read(path) for path in paths]
    missing = [i for i, entry in enumerate(entries) if entry not in known[i]]
    computed = _tried([models[i] for i in missing], scorer, subject, memory) if missing else []
    for i, rows in zip(missing, computed, strict=True):
        known[i][entries[i]] = tuple(_complete(rows, scorer, subject))
        content = {**_read(paths[i]), entries[i]: known[i][entries[i]]}
        write_atomically(paths[i], json.dumps({e: [_as_json(r) for r in of] for e, of in content.items()}) + "\n")
    return [known[i][entry] for i, entry in enumerate(entries)]


def entry_of(model: PrunedModel, scorer: Scorer, subject: str, memory: Memory) -> str:
    """Returns the name of the entry of a scorer's rows on a subject in the file of a model."""
    definition = [name_of(scorer), scorer.version, scorer.definition(subject, model.loaded, memory)]
    return f"{subject} {digest_of(definition)}"


def _complete(rows: Sequence[Score], scorer: Scorer, subject: str) -> Sequence[Score]:
    if not rows:
        raise DepruneError(f"The scorer {name_of(scorer)} returned no row for {subject}; take it out of eval.")
    return rows


def _as_json(score: Score) -> dict[str, Any]:  # with whole numbers among the items short
    return asdict(score) | {"items": [int(item) if item.is_integer() else item for item in score.items]}


def _read(path: Path) -> dict[str, tuple[Score, ...]]:
    """Returns the scores in a file; none where it is missing or damaged, since they can be computed again."""
    if not path.is_file():
        return {}
    try:
        return _STORED.validate_json(path.read_bytes())
    except ValidationError:
        log.warning("The scores in %s are damaged and are computed again.", path)
        return {}
