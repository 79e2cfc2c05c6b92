"""Full and read-only disks, torn and tampered files: a sentence, nothing wrong believed, everything else kept."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deprune.core.errors import RecordError
from deprune.record.evaluations import EvaluationStore
from deprune.record.schema import RunRecord
from deprune.record.store import ResultStore, read_record
from deprune.run.launch import process_session
from tests.conftest import Command
from tests.test_record import make_record

JOBS = ["search=oneshot", "eval.tasks=[mini_one_hop]", "eval.corpora=[]", "eval.limit=5", "tracking=none"]
JOBS += ["calib.n_samples=4", "calib.seq_len=32"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)

Disk = Callable[..., None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system of its own at `results`; gives a function that mounts it anew with other options."""
    folder = tmp_path / "results"
    folder.mkdir()

    def mount(*options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")

    mount("size=4m")
    yield lambda *options: mount("remount", *options)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fills a file system up to some bytes, and returns the file that does."""
    filler = folder / "filler"
    filler.write_bytes(b"\0" * max(0, shutil.disk_usage(folder).free - leave))
    return filler


def comparable(record: RunRecord) -> dict[str, Any]:
    content = asdict(record)
    del content["cost"], content["provenance"]["environment"], content["provenance"]["written_at"]
    return content


@pytest.mark.slow
def test_disk_full_at_any_write(sweep_here: Command, tmp_path: Path, disk: Disk) -> None:
    results, n_done = tmp_path / "results", []
    for leave in range(0, 80 * 1024, 8 * 1024):
        filler = fill(results, leave)
        result = sweep_here("-m", "budget=1,2,3", *JOBS)
        assert "Traceback" not in result.out + result.err
        if result.code:
            assert "No space left on device" in result.out + result.err
        filler.unlink()
        records = [read_record(path) for path in results.glob("runs/*/record.json")]
        n_done.append(len(records))
    assert n_done[0] == 0
    assert sweep_here("-m", "budget=1,2,3", *JOBS).code == 0
    assert sweep_here("-m", "budget=1,2,3", *JOBS, "results_dir=other").code == 0
    found, expected = (
        [read_record(p) for p in sorted(tmp_path.glob(f"{f}/runs/*/record.json"))] for f in ("results", "other")
    )
    assert [comparable(r) for r in found] == [comparable(r) for r in expected]
    assert not list(results.rglob(".*.json.*")), "a temporary file was left"


def test_read_only_results(sweep_here: Command, tmp_path: Path, disk: Disk) -> None:
    assert sweep_here("budget=1", *JOBS).code == 0
    for handler in logging.getLogger().handlers:
        handler.close()  # the last job's log file is still open in this process, and so is its shard
    process_session.cache_clear()
    disk("ro")
    result = sweep_here("budget=2", *JOBS)
    assert result.code == 1
    assert "Read-only file system; mend that, or" in result.err
    assert "choose another folder with results_dir=<folder>." in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == 1


def test_a_record_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = ResultStore(tmp_path).put(make_record(run_id="abc"))
    text = path.read_bytes()
    for length in range(len(text) - 1):  # the last character is the line feed
        path.write_bytes(text[:length])
        with pytest.raises(RecordError, match=r"is damaged .*; delete it and run the job again\.$"):
            read_record(path)


def test_damaged_scores_are_computed_again(
    sweep_here: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sweep_here("budget=1", *JOBS).code == 0
    (record,) = (tmp_path / "results").glob("runs/*/record.json")
    whole, before = read_record(record), {p: p.read_text() for p in tmp_path.glob("results/downstream/*/*.json")}
    for damage in (lambda text: text[: len(text) // 2], lambda text: text.replace('"value": ', '"value": "x')):
        record.unlink()
        for path, text in before.items():
            path.write_text(damage(text))
        assert sweep_here("budget=1", *JOBS).code == 0
        assert comparable(read_record(record)) == comparable(whole)
        assert {path: path.read_text() for path in before} == before


@FUZZ
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(RecordError, match="delete it and run the job again"):
        read_record(tmp_path / "record.json")


@FUZZ
@given(field=st.sampled_from(sorted(RunRecord.__dataclass_fields__)), value=JSON, remove=st.booleans())
def test_a_record_is_read_as_written_or_refused(tmp_path: Path, field: str, value: Any, remove: bool) -> None:
    path = ResultStore(tmp_path).put(make_record(run_id="abc"))
    content = json.loads(path.read_text())
    content.pop(field)
    if not remove:
        content[field] = value
    path.write_text(json.dumps(content))
    try:
        record = read_record(path)
    except RecordError:
        return
    read, written = (json.loads(json.dumps(c), parse_constant=str) for c in (asdict(record), content))  # NaN is not NaN
    assert read == written  # a whole number stands for a float as well


@FUZZ
@given(
    lines=st.lists(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()), max_size=4),
    sealed=st.booleans(),
)
def test_lines_that_are_none_are_skipped(tmp_path: Path, lines: list[bytes], sealed: bool) -> None:
    """Even where the checksum of such a line fits."""
    folder = tmp_path / "store"
    shutil.rmtree(folder, ignore_errors=True)
    store = EvaluationStore(folder)
    for subset in ("01", "10"):
        store.put(subset, ["a", "b"], [0.5, 1.5], [1.0, 2.0])
    (shard,) = folder.iterdir()
    named, first, second = shard.read_bytes().splitlines(keepends=True)
    lines = [line.replace(b"\n", b"") for line in lines]
    junk = b"".join((b"%08x %s\n" % (zlib.crc32(line), line)) if sealed else line + b"\n" for line in lines)
    shard.write_bytes(named + junk + first + junk + second)
    reader = EvaluationStore(folder)
    assert reader.get("01") == reader.get("10") == {"a": (0.5, 1.0), "b": (1.5, 2.0)}
    assert reader.n_damaged == 2 * len(lines)
    assert set(reader.subsets()) == {"01", "10"}


LINE = {"samples": "s", "subset": "11", "sums": [1.0, 2.0], "counts": [1.0, 1.0]}


@pytest.mark.parametrize(
    "change",
    [{"sums": [1.0]}, {"sums": ["1", "2"]}, {"sums": None}, {"counts": [True, True]}, {"subset": 11}, {"samples": "t"},
     {"samples": []}, {"sums": {"a": 1}}],
)  # fmt: skip
def test_evaluations_of_a_wrong_shape_are_skipped(tmp_path: Path, change: dict[str, Any]) -> None:
    lines = [{"samples": "s", "keys": ["a", "b"]}, LINE | change, LINE | {"subset": "10"}]
    texts = [json.dumps(line).encode() for line in lines]
    (tmp_path / "shard.jsonl").write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in texts))
    store = EvaluationStore(tmp_path)
    assert store.subsets() == ["10"]
    assert store.n_damaged == 1


def test_a_store_on_a_full_disk_keeps_what_it_has(tmp_path: Path, disk: Disk) -> None:
    folder = tmp_path / "results" / "store"
    store = EvaluationStore(folder)
    store.put("s0", ["a"], [0.0], [1.0])
    fill(tmp_path / "results", 8 * 1024)

    def put_many() -> None:
        for i in range(1, 10_000):
            store.put(f"s{i}", ["a"], [float(i)], [1.0])

    with pytest.raises(RecordError, match="No space left on device"):
        put_many()
    reader = EvaluationStore(folder)
    assert len(reader.subsets()) > 10
    assert all(reader.get(s) == {"a": (float(s[1:]), 1.0)} for s in reader.subsets())
