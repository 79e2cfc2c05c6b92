"""Local files give their documents or say what is wrong with them; rows of lines become documents."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from deprune.core.errors import ConfigError, DataError
from deprune.data.corpora import LocalCorpus, _join_lines


def local(path: Path, content: str | bytes, field: str = "text") -> LocalCorpus:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LocalCorpus(path=str(path), text_field=field)


def test_text_file_is_split_at_blank_lines_or_end_marks(tmp_path: Path) -> None:
    paragraphs = local(tmp_path / "a.txt", "One.\nStill one.\n\n\nTwo.\n")
    assert list(paragraphs.documents()) == ["One.\nStill one.", "Two.\n"]
    marked = local(tmp_path / "b.txt", "One.\n\nStill one.\n<|endoftext|>\nTwo.\n<|endoftext|>\n")
    assert [d.strip() for d in marked.documents()] == ["One.\n\nStill one.", "Two."]


def test_json_lines_and_parquet_give_their_field(tmp_path: Path) -> None:
    rows = [{"story": "One."}, {"story": "Two."}]
    lines = local(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)), field="story")
    assert list(lines.documents()) == ["One.", "Two."]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    table = LocalCorpus(path=str(tmp_path / "a.parquet"), text_field="story")
    assert list(table.documents()) == ["One.", "Two."]


@pytest.mark.parametrize(
    ("name", "content", "field", "message"),
    [
        ("a.txt", b"", "text", "holds no text"),
        ("a.txt", b" \n\n ", "text", "holds no text"),
        ("a.txt", b"\xff\xfe\x00", "text", "not UTF-8 text"),
        ("a.txt", b"abc\x00def", "text", "is binary"),
        ("a.jsonl", b'{"text": "fine"}\n{"txt": 1}', "text", "Line 2 of"),
        ("a.jsonl", b"not json", "text", "Line 1 of"),
        ("a.parquet", b"not parquet", "text", "not a Parquet file"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: bytes, field: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        local(tmp_path / name, content, field).documents()


def test_missing_file_and_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        LocalCorpus(path=str(tmp_path / "nothing.txt")).documents()
    parquet.write_table(pyarrow.table({"texts": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="did you mean texts"):
        LocalCorpus(path=str(tmp_path / "a.parquet")).documents()


def test_identity_is_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here, there = local(tmp_path / "a.txt", "Same."), local(tmp_path / "elsewhere" / "a.txt", "Same.")
    assert here.identity() == there.identity()
    assert str(tmp_path) not in str(here.identity())
    assert local(tmp_path / "a.txt", "Other.").identity() != there.identity()


def test_lines_become_articles() -> None:
    lines = ["", " = One = \n", "", " Text. \n", " = = Section = = \n", " More. \n", " = Two = \n", " Text. \n"]
    articles = _join_lines(lines, r"^ = [^=].*[^=] = \s*$")
    assert [a.split()[1] for a in articles] == ["One", "Two"]
    assert "More" in articles[0]
