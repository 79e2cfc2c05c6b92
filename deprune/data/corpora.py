"""The corpora of text: embedded, from the Hub, from a local file, mixed, or random."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from deprune.core.errors import ConfigError, DataError
from deprune.core.fingerprint import digest_of_files
from deprune.core.suggestions import missing_file, unknown_name
from deprune.data.corpus import Corpus
from deprune.data.hub import DataSet, data_errors, require_hub, rows_of
from deprune.data.text import READERS, filled_in, read_texts, text_rows
from deprune.embedded import documents as embedded

FIRST_ENDINGS = (".jsonl", ".ndjson", ".parquet")
"""Of files that have always been read as what they are; those of other formats were once taken for plain text."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedCorpus(Corpus):
    """A corpus that the project's own generator writes; see `deprune.embedded.documents`.

    Attributes:
        corpus: One of `narratives`, `facts`, `arithmetic`, `procedures`, `mixture`.
        n_documents: Number of documents to draw from.
    """

    corpus: str
    n_documents: int = 4000

    def __post_init__(self) -> None:
        if self.corpus not in embedded.CORPORA:
            raise ConfigError(unknown_name("embedded corpus", self.corpus, embedded.CORPORA))

    def documents(self) -> Sequence[str]:
        """Returns documents of the generator's calibration split."""
        return list(itertools.islice(embedded.documents(self.corpus, "calibration"), self.n_documents))

    def identity(self) -> dict[str, Any]:
        """Returns the name of the corpus and its size."""
        return {"embedded": self.corpus, "n_documents": str(self.n_documents)}


@dataclass(frozen=True, kw_only=True)
class HubCorpus(Corpus):
    """The rows of a data set on the Hub, as text.

    Attributes:
        path: The data set, `owner/name`.
        config: Its configuration, where it has several.
        split: The split to draw from.
        revision: Branch, tag or commit; by default the newest.
        data_files: A file of the repository to read instead of all of them.
        template: The text of a row, with the names of its columns in braces.
        document_start: Where rows are lines: a regular expression of lines that start a document.
    """

    path: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    data_files: str | None = None
    template: str = "{text}"
    document_start: str | None = None

    def __post_init__(self) -> None:
        if not self._columns():
            raise ConfigError(f"calib.template='{self.template}' names no column in braces, such as {{text}}.")
        try:
            re.compile(self.document_start or "")
        except re.error as error:
            raise ConfigError(f"calib.document_start is no regular expression ({error}); mend it.") from error

    def documents(self) -> Sequence[str]:
        """Returns the texts of the rows, or the documents that the rows make up; rows with nulls are left out."""
        rows = hub_rows(self.data_sets()[0], self.split)
        columns = self._columns()
        for column in columns:
            if column not in rows.column_names:
                raise ConfigError(unknown_name(f"calib.template column in {self.path}", column, rows.column_names))
        if [self.template] == [f"{{{column}}}" for column in columns]:
            texts: Sequence[str] = text_rows(rows, columns, self.path, "calib.template")[columns[0]]  # read as drawn
        else:
            texts = filled_in(self.template, rows, columns, self.path)
        if not any(text.strip() for text in texts):
            raise DataError(f"The rows of {self.path} hold no text in calib.template='{self.template}'; change that.")
        return texts if self.document_start is None else _join_lines(texts, self.document_start)

    def _columns(self) -> list[str]:
        try:
            names = [name for _, name, _, _ in Formatter().parse(self.template) if name is not None]
        except ValueError as error:
            raise ConfigError(f"calib.template='{self.template}' is no template ({error}); mend its braces.") from error
        return list(dict.fromkeys(names))

    def data_sets(self) -> Sequence[DataSet]:
        """Returns the data set."""
        return (DataSet(path=self.path, config=self.config, revision=self.revision, file=self.data_files),)


def hub_rows(data: DataSet, split: str) -> Any:
    """Returns the rows of a data set on the Hub, as a `datasets.Dataset`.

    Raises:
        ConfigError: The ending of a single file tells no format.
        DataError: The Hub does not answer or does not give them.
    """
    from datasets import load_dataset
    from huggingface_hub import hf_hub_download

    instead = "an embedded corpus such as calib=mixture, or calib=local calib.path=<file> for a local copy"
    require_hub("the calibration data", instead)
    with data_errors(f"data set {data.path}"):
        if data.file is None:
            return rows_of(data, split)
        # Without a network, `datasets` would not find a single file of a repository in its cache again.
        path = hf_hub_download(data.path, data.file, repo_type="dataset", revision=data.revision)
        return load_dataset(_reader(data.file), data_files={split: path}, split=split)


def _reader(file: str) -> str:
    """Returns what `datasets` reads a single file with, by its ending."""
    readers = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}
    for ending in reversed(Path(file.lower()).suffixes):
        if ending in readers:
            return readers[ending]
    raise ConfigError(f"The file calib.data_files={file} has none of the endings {', '.join(readers)}; take another.")


def _join_lines(lines: Sequence[str], start: str) -> list[str]:
    """Joins lines to documents; each line that matches `start` begins a new one."""
    pattern = re.compile(start)
    documents: list[list[str]] = [[]]
    for line in lines:
        if pattern.match(line) and any(text.strip() for text in documents[-1]):
            documents.append([])
        documents[-1].append(line if line.endswith("\n") else line + "\n")
    return ["".join(parts) for parts in documents]


@dataclass(frozen=True, kw_only=True)
class LocalCorpus(Corpus):
    """A file on this machine: plain text, or a table or JSON with one document in each row.

    A text file holds one document per paragraph, or, where lines `<|endoftext|>` occur, one between each two of
    them. Rows whose text is null are left out.

    Attributes:
        path: The file; its ending (`.jsonl`, `.json`, `.parquet`, `.csv`, `.tsv`, any other for text) tells its format.
        text_field: The field or column that holds the text.
    """

    path: str
    text_field: str = "text"

    def documents(self) -> Sequence[str]:
        """Returns the documents of the file that are not blank."""
        self._check()
        texts = [text for text in read_texts(Path(self.path), self.text_field) if text.strip()]
        if not texts:
            raise DataError(f"The file {self.path} holds no text; give one that does in calib.path.")
        return texts

    def identity(self) -> dict[str, Any]:
        """Returns the name of the file and a hash of its content, not where it lies."""
        self._check()
        path = Path(self.path)
        return {"local": path.name, "content": digest_of_files([path]), "field": self.text_field, **_reading(path)}

    def _check(self) -> None:
        if Path(self.path).is_dir():
            raise DataError(f"{self.path} is a folder; give one file of it in calib.path.")
        if not Path(self.path).is_file():
            raise DataError(missing_file(self.path, "calib.path"))


def _reading(path: Path) -> dict[str, str]:
    """Returns the format of a file that was once read as another, so that old results are not taken for new."""
    ending = path.suffix
    return {"format": ending.lower()} if ending.lower() in READERS and ending not in FIRST_ENDINGS else {}


@dataclass(frozen=True, kw_only=True)
class RandomTokens(Corpus):
    """Uniformly random tokens: the control that knows nothing of language. It has no documents."""

    def documents(self) -> Sequence[str]:
        """Raises an error: tokens are drawn without documents."""
        raise ConfigError("Random tokens have no documents, so they cannot be part of a mixture.")

    def identity(self) -> dict[str, Any]:
        """Returns what says it all."""
        return {"tokens": "uniform"}
