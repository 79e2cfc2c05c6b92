"""A sweep that is killed again and again gives what an undisturbed one gives, and computes nothing twice."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from deprune.record.evaluations import EvaluationStore
from deprune.record.store import read_record
from tests.conftest import PATIENCE, wait_until
from tests.forked import start

pytestmark = pytest.mark.slow

N_KILLS = 25

SWEEP = [
    "-m", "search=oneshot,greedy,random", "budget=3", "calib=facts,narratives",
    "calib.n_samples=16", "calib.seq_len=128", "eval.tasks=[mini_one_hop]", "eval.corpora=[]", "eval.limit=5",
    "tracking=none", "evaluator.batch_size=2", "evaluator.sharing=false",
]  # fmt: skip


def outputs(folder: Path) -> dict[str, Any]:
    """Everything that a sweep found, but for times and the machine."""
    records = [asdict(read_record(path)) for path in folder.glob("results/runs/*/record.json")]
    for record in records:
        n_evals = record.pop("cost")["n_evals"]
        record["provenance"] = {**record["provenance"], "environment": None, "written_at": None, "n_evals": n_evals}
    found: dict[str, Any] = {record["run_id"]: record for record in records}
    for path in folder.glob("results/downstream/*/*.json"):
        found[str(path.relative_to(folder))] = json.loads(path.read_text())
    return found


def n_evaluations(folder: Path) -> Counter[tuple[str, str, str]]:
    """How often each subset was computed on each sample, by the lines of all shards."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for shard in folder.glob("results/evaluations/*/*.jsonl"):
        keys: dict[str, list[str]] = {}
        for line in shard.read_bytes().split(b"\n")[:-1]:
            content = json.loads(line.partition(b" ")[2])
            keys.setdefault(content["samples"], content.get("keys", []))
            if "subset" in content:
                counts.update((shard.parent.name, content["subset"], key) for key in keys[content["samples"]])
    return counts


def test_killed_at_25_random_moments(tmp_path: Path) -> None:
    rng = random.Random(6)
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    stormy.mkdir()
    undisturbed = start(calm, SWEEP)
    undisturbed.join(PATIENCE)
    assert undisturbed.exitcode == 0, (calm / "output.txt").read_text()
    expected = outputs(calm)
    assert sum("removal" in found for found in expected.values()) == 6

    total, moments = n_evaluations(calm).total(), []
    for _ in range(N_KILLS):
        process, before = start(stormy, SWEEP), n_evaluations(stormy).total()
        enough = before + rng.randint(0, total // N_KILLS)
        wait_until(lambda: not process.is_alive() or n_evaluations(stormy).total() > enough)  # noqa: B023
        process.join(rng.uniform(0, 0.05))  # into a search, the evaluation of tasks, or the next job
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the sweep was over before it was killed often enough"
        moments.append((len(list(stormy.glob("results/runs/*/record.json"))), n_evaluations(stormy).total()))
    assert len(set(moments)) > N_KILLS // 2, f"the kills were not spread over the sweep: {moments}"
    last = start(stormy, SWEEP)
    last.join(PATIENCE)
    assert last.exitcode == 0, (stormy / "output.txt").read_text()

    assert outputs(stormy) == expected
    assert n_evaluations(stormy) == n_evaluations(calm)
    assert set(n_evaluations(stormy).values()) == {1}
    stores = [EvaluationStore(folder) for folder in (stormy / "results" / "evaluations").iterdir()]
    assert sum(store.n_damaged for store in stores) == 0
