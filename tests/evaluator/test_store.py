"""The evaluation store: many writers, kills, damage; nothing wrong is believed and nothing else lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deprune.core.errors import RecordError
from deprune.core.fingerprint import digest_of
from deprune.core.subset import BlockSubset
from deprune.evaluator.trie import count_prefixes
from deprune.record.evaluations import EvaluationStore
from deprune.record.store import read_record
from deprune.run.session import Session
from tests.conftest import Command

KEYS = ["a", "b", "c"]

WRITER = """
import sys
from pathlib import Path
from deprune.record.evaluations import EvaluationStore
from deprune.core.fingerprint import digest_of
store, writer, count = EvaluationStore(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
for i in range(count):
    store.put(f"{writer}-{i}", ["a", "b", "c"], [writer + i / 7] * 3, [1.0] * 3)
    print(i, flush=True)
"""


def write_some(folder: Path, n: int = 4) -> None:
    store = EvaluationStore(folder)
    for i in range(n):
        store.put(f"s{i}", KEYS, [i + 0.1, i + 0.2, i + 0.3], [1.0, 2.0, 3.0])


def test_what_is_put_is_read_by_others_to_the_bit(tmp_path: Path) -> None:
    reader = EvaluationStore(tmp_path)
    writer = EvaluationStore(tmp_path)
    writer.put("010", KEYS, [0.1 + 0.2, 1e-300, 7.0], [1.0, 2.0, 3.0])
    assert reader.get("010") == {}
    reader.refresh()
    assert reader.get("010") == {"a": (0.1 + 0.2, 1.0), "b": (1e-300, 2.0), "c": (7.0, 3.0)} == writer.get("010")
    writer.put("010", ["d"], [4.0], [1.0])
    reader.refresh()
    assert set(reader.get("010")) == {"a", "b", "c", "d"}
    assert reader.n_damaged == 0


def test_a_store_that_is_only_read_leaves_no_file(tmp_path: Path) -> None:
    EvaluationStore(tmp_path / "new").get("0")
    assert not (tmp_path / "new").exists()


def test_two_writers_at_once_and_a_third_killed(tmp_path: Path) -> None:
    def start(writer: int, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(writer), str(count)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    first, second, killed = start(1, 150), start(2, 150), start(3, 10**6)
    assert killed.stdout is not None
    announced = [killed.stdout.readline() for _ in range(60)]
    os.kill(killed.pid, signal.SIGKILL)
    announced += killed.stdout.readlines()
    assert first.wait(60) == second.wait(60) == 0
    killed.wait(10)
    store = EvaluationStore(tmp_path)
    expected = [(1, i) for i in range(150)] + [(2, i) for i in range(150)] + [(3, i) for i in range(len(announced))]
    for writer, i in expected:
        assert store.get(f"{writer}-{i}") == dict.fromkeys(KEYS, (writer + i / 7, 1.0)), (writer, i)
    assert store.n_damaged <= 1


def test_a_shard_cut_anywhere_loses_only_its_last_line(tmp_path: Path) -> None:
    write_some(tmp_path / "whole")
    (shard,) = (tmp_path / "whole").glob("*.jsonl")
    data, whole = shard.read_bytes(), EvaluationStore(tmp_path / "whole")
    for cut in range(len(data)):
        shard.write_bytes(data[:cut])
        store = EvaluationStore(tmp_path / "whole")
        n_lines = data[:cut].count(b"\n")
        for i in range(4):
            assert store.get(f"s{i}") == (whole.get(f"s{i}") if i + 2 <= n_lines else {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(position=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=40))
def test_random_damage_is_never_believed(tmp_path: Path, position: float, junk: bytes) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    write_some(folder)
    (shard,) = folder.glob("*.jsonl")
    whole, data = EvaluationStore(folder), bytearray(shard.read_bytes())
    start = int(position * len(data))
    damaged = (data[:start] + junk + data[start + len(junk) :])[: len(data)]
    shard.write_bytes(damaged)
    store = EvaluationStore(folder)
    for i in range(4):
        assert store.get(f"s{i}") in ({}, whole.get(f"s{i}"))
    if damaged != data:
        assert store.n_damaged >= 1 or sum(bool(store.get(f"s{i}")) for i in range(4)) < 4


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        EvaluationStore(tmp_path / "file" / "store").put("0", KEYS, [1.0] * 3, [1.0] * 3)


@pytest.mark.slow
def test_counts_of_three_jobs_that_share_a_store(sweep: Command, tmp_path: Path) -> None:
    """One-shot, then greedy, then one-shot on four times the samples, in three processes."""
    n_blocks, n = 12, 4
    job = ["budget=3", "eval=none", "tracking=none", "calib.seq_len=32"]
    records = []
    for extra in (["search=oneshot", f"calib.n_samples={n}"], ["search=greedy", f"calib.n_samples={n}"],
                  ["search=oneshot", f"calib.n_samples={4 * n}"]):  # fmt: skip
        before = set(tmp_path.rglob("record.json"))
        result = sweep(*job, *extra)
        assert result.code == 0, result.err
        (path,) = set(tmp_path.rglob("record.json")) - before
        records.append(read_record(path))
    oneshot, greedy, more = records
    counts = [record.cost.evaluations for record in records]

    # One-shot: every block alone, its result (asked for twice), and the dense model.
    assert (counts[0]["requested"], counts[0]["remembered"], counts[0]["computed"]) == (12 + 3, 1, 12 + 2)
    assert counts[0]["sample_evaluations"] == (12 + 2) * n
    prefixes = [count_prefixes([BlockSubset.of(n_blocks, [b]) for b in range(n_blocks)]), n_blocks - 3, n_blocks]
    assert counts[0]["block_calls"] == n * sum(prefixes)

    # Greedy: its first round, the dense model, and its own result are known.
    met = set(greedy.removal.order[:2]) <= set(
        oneshot.removal.order
    )  # one-shot's result is a candidate of the last round
    assert counts[1]["requested"] == 12 + 11 + 10 + 2
    assert counts[1]["computed"] == 11 + 10 - met
    assert counts[1]["sample_evaluations"] == (11 + 10 - met) * n

    # Four times the samples: a quarter of each is known, of the result only if somebody met it.
    known = more.removal.subset == oneshot.removal.subset or set(greedy.removal.order[:2]) <= set(more.removal.order)
    assert counts[2]["computed"] == 12 + 2
    assert counts[2]["sample_evaluations"] == (12 + 2) * 4 * n - (12 + 1 + known) * n


def test_jobs_of_one_process_read_what_is_new_and_write_one_shard(tmp_path: Path) -> None:
    write_some(tmp_path, n=2)
    session = Session()
    first = session.store(tmp_path)
    first.put("own", KEYS, [1.0] * 3, [1.0] * 3)
    write_some(tmp_path, n=3)
    second = session.store(tmp_path)
    second.put("own too", KEYS, [1.0] * 3, [1.0] * 3)
    assert second is first
    assert {*second.subsets()} == {"s0", "s1", "s2", "own", "own too"} == {*EvaluationStore(tmp_path).subsets()}
    assert second.keys_of(digest_of(KEYS)) == KEYS
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    assert session.store(tmp_path, fresh=True).subsets() == []


def test_a_kept_store_whose_files_were_removed_is_read_anew(tmp_path: Path) -> None:
    session = Session()
    session.store(tmp_path).put("0", KEYS, [1.0] * 3, [1.0] * 3)
    for shard in tmp_path.glob("*.jsonl"):
        shard.unlink()
    assert session.store(tmp_path).subsets() == []
    session.store(tmp_path).put("1", KEYS, [1.0] * 3, [1.0] * 3)
    assert EvaluationStore(tmp_path).subsets() == ["1"]
