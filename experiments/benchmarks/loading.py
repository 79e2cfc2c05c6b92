"""Measures how long records take to load and to analyse, and writes `loading.md` beside this file.

    python experiments/benchmarks/loading.py [number of records]

The records are made: 20 improvements in the trace, six tasks with two metrics and three corpora, as a sweep on a
model of the Hub leaves them, about 9 kB each.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deprune.analysis import decompose, load
from deprune.analysis.patterns.consensus import consensus, dispersion
from deprune.analysis.patterns.masks import decompose_patterns
from deprune.analysis.searches.ranks import perplexity_against_accuracy
from deprune.record.legacy import METRICS, search_facts
from deprune.record.schema import (
    SCHEMA_VERSION,
    Cost,
    Draw,
    Factors,
    MetricRow,
    Provenance,
    Removal,
    RunRecord,
    Scores,
    SearchFacts,
)

N_ANALYSED = 2000
N_BLOCKS = 32
N_ITEMS = 1000
TASKS = ("hellaswag", "winogrande", "arc_easy", "arc_challenge", "piqa", "boolq")
CORPORA = ("wikitext2", "c4", "lambada")


def cells() -> Iterator[tuple[str, int, str, str, str, int]]:
    """Yields model, budget, corpus, objective, search and seed; the first 2,016 are a complete grid of six seeds."""
    grid = (
        ("llama", "qwen", "olmo"), (7, 9), ("c4", "wikitext", "code", "math"), ("nll", "task_margin"),
        ("oneshot", "greedy", "beam", "ga", "bo", "cbo", "random"),
    )  # fmt: skip
    for seed in itertools.count():
        for cell in itertools.product(*grid):
            yield (*cell, seed)


def make_record(number: int, cell: tuple[str, int, str, str, str, int], rng: np.random.Generator) -> RunRecord:
    """Returns a record of the usual size."""
    model, budget, dataset, objective, search, seed = cell
    removed = tuple(int(b) for b in rng.choice(N_BLOCKS, budget, replace=False))
    bits = "".join("1" if b in removed else "0" for b in range(N_BLOCKS))
    accuracy = int(rng.integers(400, 700)) / N_ITEMS
    scores = [(task, metric, accuracy) for task in TASKS for metric in ("acc", "acc_norm")]
    scores += [(corpus, "log_perplexity", 3 - accuracy) for corpus in CORPORA]
    metrics = tuple(
        MetricRow(
            task=task, metric=metric, value=value, stderr=0.01, dense_value=0.7, dense_stderr=0.01, n_items=N_ITEMS,
            item_set=f"{task:16}", version="1.0", higher_is_better=metric != "log_perplexity", chance=None,
            **METRICS[metric],
        )
        for task, metric, value in scores
    )  # fmt: skip
    trace = tuple(
        {"evaluations": i, "n_removed": budget, "loss": 2.0 - i / 99, "removed": list(removed)} for i in range(20)
    )
    facts = search_facts(search)
    draw = f"{dataset}/seed {seed}/{model}"
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        run_id=f"{number:016x}",
        status="done",
        identity={
            "model": {"name": model, "revision": "0" * 40, "dtype": "bfloat16"},
            "calib": {"name": dataset, "n_samples": 64, "seq_len": 2048, "seed": seed, "repository": "owner/data"},
            "objective": {"name": objective, "version": 1},
            "search": {"name": search, "seed": None, "protect_first": 0, "protect_last": 0},
            "budget": budget,
            "eval": {"tasks": TASKS, "limit": None, "corpora": CORPORA, "windows": None},
        },
        factors=Factors(
            model=model, budget=budget, calib_dataset=dataset, objective=objective, calib_samples=64,
            calib_seq_len=2048, search=search, treatment="none", calib_seed=seed, search_seed=None,
        ),
        draw=Draw(sample_id=draw, token_hash="0" * 16, draw_id=draw, n_tokens=131072),
        removal=Removal(
            n_blocks=N_BLOCKS, subset=bits, order=removed, unit="nat/token", loss=2.0, stderr=0.1, dense_loss=1.8,
            accuracy=None, dense_accuracy=None, trace=trace, racing=False,
            search=SearchFacts(**{**facts, "guarantees": tuple(facts["guarantees"])}),
        ),
        scores=Scores(metrics=metrics, accuracy=accuracy, dense_accuracy=0.7),
        cost=Cost(
            n_evals=203, evaluations={"block_calls": 9}, seconds={"search": 1.0}, peak_memory_bytes=1,
        ),
        provenance=Provenance(
            model_path=f"owner/{model}", model_revision="0" * 40, warnings=(), written_at="now",
            stores={"downstream": f"{model}/{number:016x}.json", "evaluations": "none", "samples": "none"},
            environment={"device": "GPU", "python": "3.11"},
        ),
    )  # fmt: skip


def write_records(folder: Path, n: int) -> int:
    """Writes n records and returns the bytes of the last."""
    rng, size = np.random.default_rng(0), 0
    for number, cell in zip(range(n), cells(), strict=False):
        path = folder / "runs" / f"{number:016x}" / "record.json"
        path.parent.mkdir(parents=True)
        size = path.write_text(json.dumps(asdict(make_record(number, cell, rng)), indent=1))
    return size


def main() -> None:
    """Measures and writes the table."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_records(folder, n)
        started = time.perf_counter()
        results = load(folder)
        loading = time.perf_counter() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        complete = results.where({"calib_seed": list(range(N_ANALYSED // 336 + 1))})
        started = time.perf_counter()
        for response in ("accuracy", "log perplexity", "accuracy of piqa"):
            decompose(complete, response)
        for model in complete.runs["model"].cat.categories:
            decompose_patterns(complete, model)
        consensus(complete)
        dispersion(complete)
        perplexity_against_accuracy(complete)
        analysing = time.perf_counter() - started
    text = f"""# Loading and analysing records

Made by `python experiments/benchmarks/loading.py` on {os.cpu_count()} cores with
Python {platform.python_version()}, right
after writing the records. The load over the five minutes before, writing included, was {os.getloadavg()[1]:.1f}.

| what | measured | wanted |
| --- | --- | --- |
| load {len(results.runs):,} records of {size / 1000:.0f} kB | {loading:.1f} s | 20 s for 100,000 |
| peak memory of the process | {memory:.2f} GB | 2 GB |
| analyse {len(complete.runs):,} runs: 3 responses, patterns of 3 models, consensus, ranks | {analysing:.1f} s | 60 s |
"""
    (Path(__file__).parent / "loading.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
