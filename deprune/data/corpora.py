"""The corpora of text: embedded, from the Hub, from a local file, mixed, or random."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from deprune.core.errors import ConfigError, DataError
from deprune.core.fingerprint import digest_of_files
from deprune.core.suggestions import unknown_name
from deprune.data.corpus import Corpus
from deprune.data.hub import DataSet, hub_errors, require_hub
from deprune.embedded import documents as embedded


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

    def documents(self) -> Sequence[str]:
        """Returns the texts of the rows, or the documents that the rows make up."""
        rows = hub_rows(self.data_sets()[0], self.split)
        fields = [name for _, name, _, _ in Formatter().parse(self.template) if name is not None]
        for field in fields:
            if field not in rows.column_names:
                raise ConfigError(unknown_name(f"calib.template column in {self.path}", field, rows.column_names))
        if [self.template] == [f"{{{field}}}" for field in fields]:
            texts: Sequence[str] = rows[fields[0]]  # read as they are drawn: the column may be large
        else:
            texts = [self.template.format(**row) for row in rows.select_columns(fields)]
        return texts if self.document_start is None else _join_lines(texts, self.document_start)

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
    with hub_errors(f"data set {data.path}"):
        if data.file is None:
            return load_dataset(data.path, data.config, split=split, revision=data.revision)
        # Without a network, `datasets` would not find a single file of a repository in its cache again.
        path = hf_hub_download(data.path, data.file, repo_type="dataset", revision=data.revision)
        return load_dataset(_reader(data.file), data_files={split: path}, split=split)


def _reader(file: str) -> str:
    """Returns what `datasets` reads a single file with, by its ending."""
    readers = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}
    for ending in reversed(Path(file).suffixes):
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
    """A text, JSON-lines or Parquet file on this machine.

    A text file holds one document per paragraph, or, where lines `<|endoftext|>` occur, one between each two of
    them. The other two hold one document per row.

    Attributes:
        path: The file; its ending (`.txt`, `.jsonl`, `.parquet`) tells its format.
        text_field: The field or column that holds the text.
    """

    path: str
    text_field: str = "text"

    def documents(self) -> Sequence[str]:
        """Returns the documents of the file that are not blank."""
        texts = [text for text in self._read() if text.strip()]
        if not texts:
            raise DataError(f"The file {self.path} holds no text; give one that does in calib.path.")
        return texts

    def identity(self) -> dict[str, Any]:
        """Returns the name of the file and a hash of its content, not where it lies."""
        self._check()
        return {"local": Path(self.path).name, "content": digest_of_files([Path(self.path)]), "field": self.text_field}

    def _check(self) -> None:
        if not Path(self.path).is_file():
            raise DataError(f"There is no file {self.path}; give one that exists in calib.path.")

    def _read(self) -> list[str]:
        self._check()
        path = Path(self.path)
        if path.suffix == ".parquet":
            return self._read_parquet(path)
        instead = "give a text, .jsonl or .parquet file in calib.path."
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"The file {path} is not UTF-8 text (byte {error.start} is not); {instead}") from error
        if "\0" in text:
            raise DataError(f"The file {path} is binary; {instead}")
        if path.suffix in (".jsonl", ".ndjson"):
            return [self._field(line, n) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        mark = "<|endoftext|>"
        return text.split(mark) if mark in text else re.split(r"\n\s*\n", text)

    def _field(self, line: str, number: int) -> str:
        try:
            return str(json.loads(line)[self.text_field])
        except (ValueError, KeyError, TypeError) as error:
            wanted = f"is not a JSON object with the field '{self.text_field}'"
            raise DataError(f"Line {number} of {self.path} {wanted}; mend the line or set calib.text_field.") from error

    def _read_parquet(self, path: Path) -> list[str]:
        import pyarrow
        from pyarrow import parquet

        try:
            table = parquet.read_table(path)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(f"The file {path} is not a Parquet file that can be read: {error}.") from error
        if self.text_field not in table.column_names:
            raise ConfigError(unknown_name(f"calib.text_field in {path}", self.text_field, table.column_names))
        return [str(value) for value in table[self.text_field].to_pylist() if value is not None]


@dataclass(frozen=True, kw_only=True)
class RandomTokens(Corpus):
    """Uniformly random tokens: the control that knows nothing of language. It has no documents."""

    def documents(self) -> Sequence[str]:
        """Raises an error: tokens are drawn without documents."""
        raise ConfigError("Random tokens have no documents, so they cannot be part of a mixture.")

    def identity(self) -> dict[str, Any]:
        """Returns what says it all."""
        return {"tokens": "uniform"}
