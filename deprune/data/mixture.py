"""A weighted mixture of other corpora."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR
from deprune.core.errors import ConfigError
from deprune.core.suggestions import unknown_name
from deprune.data.corpus import Corpus, corpus_of
from deprune.data.hub import DataSet


@dataclass(frozen=True, kw_only=True)
class MixtureCorpus(Corpus):
    """Documents of several corpora, in numbers that are as their weights.

    As many of each corpus are taken, from its first, as the weights allow before one of the corpora
    is exhausted. A draw then takes them in random order.

    Attributes:
        parts: Names of corpora, which are those of `conf/calib`.
        weights: The share of documents (not of tokens) that each part has.
    """

    parts: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts or min(self.weights) <= 0:
            mixture = f"calib.parts={list(self.parts)} with calib.weights={list(self.weights)}"
            raise ConfigError(f"The mixture of {mixture} needs one weight above 0 for each part.")

    def documents(self) -> Sequence[str]:
        """Returns the documents, corpus by corpus."""
        texts = [corpus.documents() for corpus in self._corpora()]
        most = min(len(documents) / weight for documents, weight in zip(texts, self.weights, strict=True))
        counts = [round(weight * most) for weight in self.weights]
        return [text for documents, n in zip(texts, counts, strict=True) for text in documents[:n]]

    def identity(self) -> dict[str, Any]:
        """Returns the identity of every part, with its weight."""
        parts = zip(self.parts, self.weights, self._corpora(), strict=True)
        return {"parts": {name: {"weight": weight, **corpus.identity()} for name, weight, corpus in parts}}

    def data_sets(self) -> Sequence[DataSet]:
        """Returns the data sets of all parts."""
        return [data for corpus in self._corpora() for data in corpus.data_sets()]

    def _corpora(self) -> list[Corpus]:
        known = sorted(path.stem for path in (CONF_DIR / "calib").glob("*.yaml"))
        for name in self.parts:
            if name not in known:
                raise ConfigError(unknown_name("part of calib.parts", name, known))
        return [corpus_of(OmegaConf.load(CONF_DIR / "calib" / f"{name}.yaml")) for name in self.parts]
