"""What is text in a file or a column is read as it is, what is null is left out and counted, the rest is refused."""

import codecs
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from deprune.core.errors import ConfigError, DataError, DepruneError
from deprune.data.corpora import HubCorpus, LocalCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.data.items import InstructionItems
from tests.data.test_draw import TOKENIZER

STORIES = [f"Ben went to the {place}, and it was dark." for place in ("mill", "lake", "barn", "cave", "wood", "road")]


def texts_of(path: Path, content: str | bytes, field: str = "text") -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(LocalCorpus(path=str(path), text_field=field).documents())


def json_lines(*values: object) -> str:
    return "".join(json.dumps({"text": value}, ensure_ascii=False) + "\n" for value in values)


@given(texts=st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_json_lines_end_at_newlines_and_nowhere_else(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Strings of JSON may hold whatever else Unicode takes for the end of a line."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    assert texts_of(path, json_lines(*texts)) == texts
    separators = [f"a{mark}b" for mark in "\u2028\u2029\u0085"]
    assert texts_of(path, codecs.BOM_UTF8 + json_lines(*separators, *texts).encode()) == separators + texts
    assert texts_of(path, json_lines(*texts).replace("\n", "\r\n")) == texts


def write_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": STORIES, "n": range(len(STORIES))}), path)


def write_array(path: Path) -> None:
    path.write_text(json.dumps([{"text": story} for story in STORIES], indent=1))


def write_lines(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + json_lines(*STORIES).encode())


def write_table(separator: str) -> Callable[[Path], None]:
    cells = [["text", "n"], *([f'"{story}"', str(n)] for n, story in enumerate(STORIES))]
    return lambda path: path.write_bytes(codecs.BOM_UTF8 + "\r\n".join(map(separator.join, cells)).encode())


def write_paragraphs(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + "\r\n\r\n".join(STORIES).encode())


@pytest.mark.parametrize(
    ("endings", "write"),
    [
        (".jsonl .ndjson .json", write_lines),
        (".json .jsonl", write_array),
        (".csv", write_table(",")),
        (".tsv", write_table("\t")),
        (".parquet", write_parquet),
        (".txt .md .text", write_paragraphs),
    ],
)
def test_a_file_is_read_as_what_it_is_in_endings_of_any_case(
    endings: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    for ending in [*endings.split(), *endings.upper().split()]:
        write(path := tmp_path / f"stories{ending}")
        corpus = LocalCorpus(path=str(path))
        assert list(corpus.documents()) == STORIES
        new = ending.lower() in (".json", ".csv", ".tsv") or ending in (".JSONL", ".NDJSON", ".PARQUET")
        assert ("format" in corpus.identity()) == new, "a run of it read as prose is another run"


def test_cells_of_tables_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    long = "word " * 100_000
    table = f'n,text\n1,42\n2,NA\n3,null\n\n4,"He said ""no"", and\nleft."\n5,{long}\n'
    assert texts_of(tmp_path / "a.csv", table) == ["42", "NA", "null", 'He said "no", and\nleft.', long]


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_nulls_are_left_out_and_counted(
    kind: pyarrow.DataType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The draw is that of a file without them, and not that of one with the word None."""
    rows = [None, *STORIES, None]
    parquet.write_table(pyarrow.table({"text": pyarrow.array(rows, kind)}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json_lines(*rows))
    (tmp_path / "c.jsonl").write_text(json_lines(*STORIES))
    (tmp_path / "d.jsonl").write_text(json_lines("None", *STORIES, "None"))
    draws = []
    for name in ("a.parquet", "b.jsonl", "c.jsonl", "d.jsonl"):
        calib = CalibConfig(name="x", corpus=LocalCorpus(path=str(tmp_path / name)), n_samples=2, seq_len=None, seed=0)
        draws.append(draw_windows(calib, 8, TOKENIZER, "m"))
    assert len({(draw.sample_id, draw.token_hash) for draw in draws[:3]}) == 1
    assert draws[3].sample_id != draws[0].sample_id
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"2 of 8 rows of {tmp_path / name} have no 'text' and are left out." for name in ("a.parquet", "b.jsonl")
    ]


NO_TEXT = {
    "a list": ["a"], "an object": {"role": "user"}, "a number": 42, "a truth value": True,
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_TEXT)
def test_what_is_no_text_is_refused_by_line_and_column(kind: str, tmp_path: Path) -> None:
    sentence = f"of {tmp_path}/a.* 'text' is {kind}, not text; name a column of text in calib.text_field."
    with pytest.raises(DataError, match=f"Line 3 {sentence}"):
        texts_of(tmp_path / "a.jsonl", json_lines("fine", None, NO_TEXT[kind]))
    parquet.write_table(pyarrow.table({"text": [None, NO_TEXT[kind]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"Row 2 {sentence}"):
        LocalCorpus(path=str(tmp_path / "a.parquet")).documents()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"text": "\\ud83d"}', "Line 1 of .* holds half a character"),
        ("a.jsonl", b'["a"]\n["b"]', "Line 1 of .* is not a JSON object with the field 'text'"),
        ("a.json", b'["a"]', "Row 1 of .* is not a JSON object with the field 'text'"),
        ("a.json", b"[" * 100_000, "Line 1 of .* is not a JSON object"),
        ("a.json", b"[]", "holds no text"),
        ("a.csv", b"text,n\na,1\nb,2,3\n", r"Line 3 of .*\(3 cells where the head of the table has 2\)"),
        ("a.csv", b'text\n"a\nb\n', r"Line 3 of .* cannot be read as a row \(unexpected end of data\)"),
        ("a.csv", b"text,text\na,b\n", "several columns 'text'"),
        ("a.tsv", b"texts\na\n", "There is no calib.text_field .* did you mean texts"),
        ("a.csv", b"text\nCaf\xe9", "not UTF-8 text"),
        ("a.txt", "Coffee".encode("utf-16-le"), "binary or UTF-16"),
        ("a.txt", "Café".encode("utf-16"), "not UTF-8 text"),
        ("a.parquet", b"PAR1PAR1PAR1", "not a Parquet file that can be read"),
    ],
)
def test_files_that_are_not_what_their_ending_says(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DepruneError, match=sentence) as caught:
        texts_of(tmp_path / name, content)
    assert "\n" not in str(caught.value)


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    for read in (LocalCorpus.documents, LocalCorpus.identity):
        with pytest.raises(DataError, match="is a folder; give one file of it"):
            read(LocalCorpus(path=str(tmp_path)))


Rows = Callable[..., None]


@pytest.fixture
def hub_has(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Puts rows in place of those of whichever data set is asked for."""

    def put(**columns: Any) -> None:
        rows = Dataset(pyarrow.table(columns))
        for module in ("corpora", "items"):
            monkeypatch.setattr(f"deprune.data.{module}.hub_rows", lambda *args: rows)

    return put


def corpus(template: str = "{text}", **settings: Any) -> list[str]:
    return list(HubCorpus(path="me/rows", template=template, **settings).documents())


def test_rows_of_the_hub_without_text_are_left_out_and_counted(hub_has: Rows, caplog: pytest.LogCaptureFixture) -> None:
    hub_has(text=["a", None, "b", None], q=[None, "c", "d", "None"], n=[1, 2, None, 4], ok=[True, False, True, True])
    assert corpus() == ["a", "b"]
    assert corpus("{q} {n}") == ["c 2", "None 4"]
    assert corpus("{q}: {n:.1f}, {ok}") == ["c: 2.0, False", "None: 4.0, True"]
    assert corpus(document_start="b") == ["a\n", "b\n"]
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 4 rows of me/rows have no 'text' and are left out.",
        "2 of 4 rows of me/rows have no 'q' or 'n' and are left out.",
        "2 of 4 rows of me/rows have no 'q' or 'n' or 'ok' and are left out.",
        "2 of 4 rows of me/rows have no 'text' and are left out.",
    ]


@pytest.mark.parametrize("kind", NO_TEXT)
def test_columns_of_the_hub_that_are_no_text_are_refused(kind: str, hub_has: Rows) -> None:
    hub_has(text=[None, NO_TEXT[kind]], q=["a", "b"])
    with pytest.raises(DataError, match=f"Row 2 of me/rows: 'text' is {kind}, not text; .* calib.template"):
        corpus()
    if kind in ("a list", "an object"):
        with pytest.raises(DataError, match=f"Row 2 of me/rows: 'text' is {kind}, not text"):
            corpus("{q} {text}")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"template": "{text"}, "is no template .*; mend its braces"),
        ({"template": "{{text}}"}, "names no column in braces"),
        ({"template": "{Text}"}, "did you mean text"),
        ({"template": "{text:d}"}, "Row 1 of me/rows does not fit calib.template"),
        ({"template": "{empty}"}, "hold no text"),
        ({"template": "{null}"}, "hold no text"),
        ({"document_start": "("}, "calib.document_start is no regular expression"),
    ],
)
def test_templates_that_cannot_be(settings: dict[str, str], sentence: str, hub_has: Rows) -> None:
    hub_has(text=["a", "b"], empty=["", " "], null=[None, None])
    with pytest.raises((ConfigError, DataError), match=sentence):
        corpus(**settings)


def test_instructions_without_text_are_left_out_and_lists_refused(
    hub_has: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    asked = "Is it?\n\nAnswer format: true/false"
    hub_has(instruction=[asked, None, asked, asked], answer=["true", "true", None, "maybe"])
    with caplog.at_level(logging.WARNING):
        assert [item.answer for item in InstructionItems(path="me/rows").items()] == [0]
    assert "2 of 4 rows of me/rows have no 'instruction' or 'answer' and are left out." in caplog.text
    assert "1 of 2 instructions of me/rows name no allowed answers and are left out." in caplog.text
    hub_has(instruction=[[asked]], answer=["true"])
    with pytest.raises(DataError, match="Row 1 of me/rows: 'instruction' is a list"):
        InstructionItems(path="me/rows").items()


def test_data_that_cannot_be_read_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever the library raises, and with all that it says."""
    monkeypatch.setattr("deprune.data.corpora.require_hub", lambda *args: None)
    files = {
        "script": ("script.py", "", "it is a Python script, which `datasets` no longer runs; take another"),
        "broken": ("train.jsonl", '{"text": "a"}\nb\n', "cannot be read: JSON parse error: Invalid value. in row 1."),
    }
    for name, (file, content, sentence) in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(content)
        with pytest.raises(DataError) as caught:
            HubCorpus(path=str(tmp_path / name)).documents()
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
