"""Text out of files and columns: what is text is read, what is null is left out and counted, the rest is refused."""

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deprune.core.errors import ConfigError, DataError, one_line
from deprune.core.suggestions import unknown_name

log = logging.getLogger(__name__)

KINDS = {bool: "a truth value", int: "a number", float: "a number", bytes: "bytes", list: "a list", dict: "an object"}
"""What values that are no text are called."""

Values = Iterable[tuple[str, Any]]
"""Where each value of a column stands, such as `Line 3`, and the value."""


def kept_texts(values: Values, what: str, source: str, setting: str) -> list[str]:
    """Returns the texts among some values, and says how many are null; `setting` names the column that they are of.

    Raises:
        DataError: A value is neither text nor null.
    """
    found = [*values]
    texts = [as_text(value, what, f"{place} of {source}", setting) for place, value in found if value is not None]
    _say_left_out(len(found) - len(texts), len(found), what, source)
    return texts


def as_text(value: Any, what: str, where: str, setting: str) -> str:
    """Returns a value that is text; raises a DataError where it is something else."""
    if not isinstance(value, str):
        kind = KINDS.get(type(value), f"a {type(value).__name__}")
        raise DataError(f"{where}: {what} is {kind}, not text; name a column of text in {setting}.")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise DataError(f"{where}: {what} holds half a character (a lone surrogate); mend the data.")
    return value


def text_rows(rows: Any, columns: Sequence[str], source: str, setting: str) -> Any:
    """Returns the rows of a `datasets.Dataset` without those that are null in one of some columns of text.

    Columns of strings are not read for that: there may be many.

    Raises:
        DataError: A value of these columns is neither text nor null.
    """
    for column in columns:
        if getattr(rows.features[column], "dtype", "") not in ("string", "large_string", "string_view"):
            for number, value in enumerate(rows[column], 1):
                if value is not None:
                    as_text(value, f"'{column}'", f"Row {number} of {source}", setting)
    is_whole = np.logical_and.reduce([rows.data.column(column).is_valid().to_numpy() for column in columns])
    _say_left_out(int((~is_whole).sum()), len(rows), _either(columns), source)
    return rows if is_whole.all() else rows.select(np.flatnonzero(is_whole))


def filled_in(template: str, rows: Any, columns: Sequence[str], source: str) -> list[str]:
    """Returns a template with the values of each row in it, but for rows that lack one.

    Raises:
        DataError: A value is a list, an object or bytes, or does not fit the template.
    """

    def text(row: dict[str, Any], number: int) -> str | None:
        where = f"Row {number} of {source}"
        for column in columns:
            if isinstance(row[column], list | dict | bytes):
                as_text(row[column], f"'{column}'", where, "calib.template")
        try:
            return None if any(row[column] is None for column in columns) else template.format(**row)
        except (ValueError, TypeError, LookupError) as error:
            raise DataError(f"{where} does not fit calib.template ({one_line(error)}); change that.") from error

    numbered = ((f"Row {n}", text(row, n)) for n, row in enumerate(rows.select_columns(list(columns)), 1))
    return kept_texts(numbered, _either(columns), source, "calib.template")


def _either(columns: Sequence[str]) -> str:
    return " or ".join(f"'{column}'" for column in columns)


def _say_left_out(n: int, total: int, what: str, source: str) -> None:
    if 0 < n < total:  # where nothing is left, an error says so
        log.warning("%d of %d rows of %s have no %s and are left out.", n, total, source, what)


def read_texts(path: Path, column: str) -> list[str]:
    """Returns the texts of a file, which is read by its ending, in any case; any other ending is that of plain text.

    Raises:
        ConfigError: The file is a table without such a column.
        DataError: It cannot be read, or a row holds no text.
    """
    read = READERS.get(path.suffix.lower(), _plain)
    return kept_texts(read(path, column), f"'{column}'", str(path), "calib.text_field")


def _plain(path: Path, column: str) -> Values:
    text = re.sub("\r\n?", "\n", _decoded(path))
    mark = "<|endoftext|>"
    texts = text.split(mark) if mark in text else re.split(r"\n\s*\n", text)
    return ((f"Text {number}", text) for number, text in enumerate(texts, 1))


def _decoded(path: Path) -> str:
    instead = "give a text, .jsonl or .parquet file in calib.path."
    try:
        text = path.read_bytes().decode().removeprefix("\ufeff")  # the mark with which Windows starts files
    except UnicodeDecodeError as error:
        raise DataError(f"The file {path} is not UTF-8 text (byte {error.start} is not); {instead}") from error
    if "\0" in text:
        raise DataError(f"The file {path} is binary or UTF-16; {instead}")
    return text


def _json(path: Path, column: str) -> Values:
    """Yields the rows of a JSON array, or of JSON lines, whichever the file holds."""
    text = _decoded(path)
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):  # lines that are arrays, or no JSON
            return _json_lines(text, path, column)
        return ((f"Row {number}", _field(row, column, f"Row {number} of {path}")) for number, row in enumerate(rows, 1))
    return _json_lines(text, path, column)


def _json_lines(text: str, path: Path, column: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # and nowhere else: JSON may hold other ends of lines
        if line.strip():
            where = f"Line {number}"
            yield where, _field(_parsed(line), column, f"{where} of {path}")


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _field(row: Any, column: str, where: str) -> Any:
    if not isinstance(row, dict) or column not in row:
        wanted = f"is not a JSON object with the field '{column}'"
        raise DataError(f"{where} {wanted}; mend it or set calib.text_field.")
    return row[column]


def _parquet(path: Path, column: str) -> Values:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"The file {path} is not a Parquet file that can be read: {one_line(error)}.") from error
    _place_of(column, table.column_names, path)
    return [(f"Row {number}", value) for number, value in enumerate(table[column].to_pylist(), 1)]


def _csv(path: Path, column: str) -> Values:
    text = _decoded(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # by default no cell may hold a long text
    rows = csv.reader(
        io.StringIO(text, newline=""), "excel-tab" if path.suffix.lower() == ".tsv" else "excel", strict=True
    )
    try:
        header = next(rows, [])
        place = _place_of(column, header, path)
        for row in filter(None, rows):
            if len(row) != len(header):
                raise csv.Error(f"{len(row)} cells where the head of the table has {len(header)}")
            yield f"Line {rows.line_num}", row[place]
    except csv.Error as error:
        raise DataError(f"Line {rows.line_num} of {path} cannot be read as a row ({error}); mend it.") from error


def _place_of(column: str, columns: Sequence[str], path: Path) -> int:
    if column not in columns:
        raise ConfigError(unknown_name(f"calib.text_field in {path}", column, columns))
    if columns.count(column) > 1:
        raise DataError(f"The file {path} has several columns '{column}'; give each a name of its own.")
    return columns.index(column)


READERS: dict[str, Callable[[Path, str], Values]] = {
    ".jsonl": _json, ".ndjson": _json, ".json": _json, ".parquet": _parquet, ".csv": _csv, ".tsv": _csv,
}  # fmt: skip
"""Ending of a file -> what gives the values of one of its columns."""
