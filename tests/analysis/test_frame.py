"""Records become tables; what cannot be used is counted and said."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deprune.analysis import decompose, load, response, response_names
from deprune.analysis.read.failure_rates import rates_by_level
from deprune.analysis.read.responses import LOG_PERPLEXITY_CAP, without_diverged
from deprune.analysis.variance.decompose import Decomposition
from deprune.core.errors import AnalysisError, DataError
from deprune.record.legacy import METRICS
from deprune.record.schema import FAILURE_SCHEMA_VERSION, FailureRecord, MetricRow
from deprune.record.store import ResultStore
from tests.test_record import make_record

MALICIOUS = "<script>alert('x')</script>'; DROP TABLE runs;--"


def make(run_id: str, **changes: Any) -> Any:
    identity = {"search": {"name": "greedy", "protect_first": 0, "protect_last": 0}, "eval": {"limit": 4}}
    return make_record(run_id=run_id, **{"identity": identity, "metrics": (), **changes})


def row(task: str, metric: str, value: float | None, **changes: Any) -> MetricRow:
    fields: dict[str, Any] = {
        "task": task, "metric": metric, "value": value, "stderr": 0.1, "dense_value": 0.9, "dense_stderr": 0.1,
        "n_items": 4, "item_set": "i", "version": "1", "higher_is_better": metric == "acc", "chance": None,
        **METRICS.get(metric, {}),
    }  # fmt: skip
    return MetricRow(**{**fields, **changes})


def write_grid(folder: Path, n_seeds: int = 2) -> None:
    """2 corpora × 2 searches × seeds, each run with its own answers to eight items."""
    rng, removed = np.random.default_rng(0), itertools.combinations(range(8), 2)
    for seed in range(n_seeds):
        for dataset in ("c4", "wikitext"):
            for number, search in enumerate(("oneshot", "greedy")):
                correct = "".join(str(int(x)) for x in rng.random(8) < 0.5 + 0.2 * number)
                gone = next(removed)  # another subset for every run, so that each has a file
                subset = "".join("1" if block in gone else "0" for block in range(8))
                ResultStore(folder).put(
                    make(
                        f"{dataset}-{search}-{seed}", calib_dataset=dataset, search=search, calib_seed=seed,
                        subset=subset, n_blocks=8, calib_sample_id=f"{dataset}/{seed}",
                        metrics=(row("task", "acc", correct.count("1") / 8),),
                        stores={"evaluations": "none", "samples": "none", "downstream": f"tiny/{subset}.json"},
                    )
                )  # fmt: skip
                answers = {
                    "task, first 4": {
                        "item_set": "i",
                        "metrics": {"acc": {"value": 0, "stderr": 0, "correct": correct}},
                    }
                }
                path = folder / "downstream" / "tiny" / f"{subset}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(answers))


def test_types_order_and_units(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for i, search in enumerate(("greedy", "zzz", "oneshot", "random")):
        store.put(make(f"r{i}", search=search, metrics=(row("t", "acc", 0.25), row("c4", "log_perplexity", 3.0))))
    results = load(tmp_path)
    assert results.runs["search"].cat.categories.tolist() == ["random", "oneshot", "greedy", "zzz"]
    assert results.runs["budget"].dtype == "Int16"
    assert results.runs["search_seed"].isna().all()
    assert results.runs["accuracy"].tolist() == [50.0] * 4
    assert results.runs["block_calls"].tolist() == [7] * 4
    assert len(results.scores) == 8
    assert response_names(results) == [
        "accuracy", "log perplexity", "calibration loss increase", "accuracy of t", "log perplexity of c4",
    ]  # fmt: skip
    assert response(results, "accuracy of t").values.tolist() == [25.0] * 4
    assert response(results, "calibration loss increase").values.tolist() == [0.5] * 4
    assert results.summary == "4 runs read; left out: nothing."


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.put(make("good"))
    text = store.path("good").read_text()
    for name, content in {
        "copy": text,
        "cut": text[: len(text) // 2],
        "old": json.dumps({**json.loads(text), "schema_version": 1}),
        "empty": "",
        "odd": json.dumps({**json.loads(text), "scores": [{"unknown": 1}]}),
    }.items():
        path = tmp_path / "runs" / name / "record.json"
        path.parent.mkdir()
        path.write_text(content)
    store.put(make("pending", status="running"))
    store.put_failure(
        FailureRecord(
            schema_version=FAILURE_SCHEMA_VERSION, run_id="lost", exception="OutOfMemory", reason="no memory",
            phase="search", log="log", identity={}, factors=make("lost", search="beam").factors,
        )
    )  # fmt: skip
    results = load(tmp_path)
    assert results.excluded == {"damaged": 3, "other schema": 1, "duplicate": 1, "not done": 1, "failed": 1}
    assert results.summary == ("1 runs read; left out: 3 damaged, 1 other schema, 1 duplicate, 1 not done, 1 failed.")
    assert results.failures["reason"].tolist() == ["no memory"]
    assert "beam" in results.runs["search"].cat.categories, "levels of failed jobs are declared too"
    rates = rates_by_level(results).set_index("level")
    assert rates.loc["beam", ["jobs", "failed", "failed_share"]].tolist() == [1, 1, 1.0]


def test_rates_at_every_level(tmp_path: Path) -> None:
    """What never came to a record counts at its level, as far as it says that."""
    store = ResultStore(tmp_path)
    jobs = [("greedy", 2), ("greedy", 3), ("oneshot", 2), ("oneshot", 3), ("beam", 2), ("beam", 10), ("beam", 0)]
    for number, (search, budget) in enumerate(jobs):
        store.put(make(f"r{number}", search=search, budget=budget))
    text = json.loads(store.path("r0").read_text())
    store.path("r0").write_text(json.dumps({**text, "schema_version": 1}))
    store.path("r1").write_text("{")
    (tmp_path / "runs" / "copy").mkdir()
    (tmp_path / "runs" / "copy" / "record.json").write_text(store.path("r2").read_text())
    failures = [{"search": "beam", "budget": 2}, {"search": "beam", "budget": 0}, {"search": [], "budget": {}}, "text"]
    for number, failure in enumerate(failures):
        path = tmp_path / "runs" / f"f{number}" / "failure.json"
        path.parent.mkdir()
        path.write_text(json.dumps(failure))
    results = load(tmp_path)
    table = rates_by_level(results)
    assert table[["factor", "level", "jobs", "done", "failed", "stale"]].to_numpy().tolist() == [
        ["all", "", 9, 4, 3, 2], ["budget", "2", 4, 2, 1, 1], ["budget", "3", 1, 1, 0, 0], ["budget", "10", 1, 1, 0, 0],
        ["search", "oneshot", 2, 2, 0, 0], ["search", "beam", 3, 2, 1, 0], ["search", "greedy", 1, 0, 0, 1],
    ]  # fmt: skip
    assert table.iloc[0][["failed_share", "stale_share"]].tolist() == [3 / 9, 2 / 9]
    assert len(results.failures) == results.excluded["failed"] == 4
    at_two = rates_by_level(results.where({"budget": 2})).iloc[0]
    assert at_two[["jobs", "done", "failed", "stale"]].tolist() == [4, 2, 1, 1]


def test_a_failure_that_was_mended_is_none(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path = store.put(make("good"))
    (path.parent / "failure.json").write_text("{}")
    assert load(tmp_path).excluded["failed"] == 0


def test_folders_without_runs_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no runs in"):
        load(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(DataError, match=r"No run in .* can be analysed"):
        load(tmp_path)
    (tmp_path / "runs" / "a").mkdir()
    (tmp_path / "runs" / "a" / "record.json").write_text("{")
    with pytest.raises(DataError, match="1 damaged"):
        load(tmp_path)


def test_membership_of_a_sweep(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for name in ("a", "b", "c"):
        store.put(make(name))
    for number, run_id in enumerate(("a", "c", None)):
        folder = tmp_path / "sweeps" / "2026-01-01" / str(number)
        folder.mkdir(parents=True)
        (folder / "outcome.json").write_text(json.dumps({"run_id": run_id, "status": "done"}))
    assert load(tmp_path, sweep="2026-01-01").runs.index.tolist() == ["a", "c"]
    with pytest.raises(DataError, match="did you mean 2026-01-01"):
        load(tmp_path, sweep="2026-01-02")


def test_where_keeps_levels_and_helps_with_names(tmp_path: Path) -> None:
    write_grid(tmp_path)
    results = load(tmp_path, where={"search": "greedy", "calib_seed": [0, 1]})
    assert len(results.runs) == len(results.scores) == 4
    with pytest.raises(AnalysisError, match="no level of search 'gredy'; did you mean greedy"):
        load(tmp_path, where={"search": "gredy"})
    with pytest.raises(AnalysisError, match="no column of runs 'serch'; did you mean search"):
        load(tmp_path, where={"serch": "greedy"})


def test_two_settings_of_one_search_are_two_levels(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for width in (3, 5):
        identity = {"search": {"name": "beam", "width": width, "protect_first": 0, "seed": None}}
        store.put(make(f"w{width}", search="beam", identity=identity))
    store.put(make("g", identity={"search": {"name": "greedy", "protect_first": 0}}))
    levels = load(tmp_path).runs["search"].cat.categories.tolist()
    assert levels == ["greedy", "beam width=3", "beam width=5"]


def test_sizes_and_seeds_of_a_calibration_set_are_factors_not_settings(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for n in (16, 64):
        identity = {"calib": {"name": "c4", "n_samples": n, "seed": n, "seq_len": 8, "split": "train"}}
        store.put(make(f"n{n}", calib_samples=n, identity=identity))
    assert load(tmp_path).runs["calib_dataset"].cat.categories.tolist() == ["c4"]


def test_diverged_runs_are_outcomes(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for i, value in enumerate((3.0, 50.0, None)):
        store.put(make(f"r{i}", search="greedy" if i else "oneshot", metrics=(row("c4", "log_perplexity", value),)))
    results = load(tmp_path)
    chosen = response(results, "log perplexity")
    assert chosen.values.tolist() == [3.0, LOG_PERPLEXITY_CAP, LOG_PERPLEXITY_CAP]
    table = rates_by_level(results).set_index("level")
    assert table["diverged_share"].to_dict() == {"": 2 / 3, "oneshot": 0.0, "greedy": 1.0}
    assert without_diverged(results, "log perplexity").runs.index.tolist() == ["r0"]


def test_scores_on_other_items_are_refused(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for i in range(2):
        store.put(make(f"r{i}", metrics=(row("t", "acc", 0.5, item_set=str(i)),)))
    with pytest.raises(AnalysisError, match="not all scored on the same items of t"):
        response(load(tmp_path), "accuracy")


def test_losses_of_two_objectives_are_refused(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for objective in ("nll", "task_margin"):
        store.put(make(objective, objective=objective))
    with pytest.raises(AnalysisError, match="nll, task_margin measure different things"):
        response(load(tmp_path), "calibration loss increase")


def test_a_malicious_name_is_only_a_name(tmp_path: Path) -> None:
    write_grid(tmp_path)
    ResultStore(tmp_path).put(make("evil", model=MALICIOUS, metrics=(row("task", "acc", 0.5),)))
    results = load(tmp_path)
    assert MALICIOUS in results.runs["model"].cat.categories
    assert len(load(tmp_path, where={"model": MALICIOUS}).runs) == 1
    with pytest.raises(AnalysisError, match="No factor varies"):
        decompose(results.where({"model": MALICIOUS}), "accuracy")


def test_items_of_every_run_are_found_and_subtracted(tmp_path: Path) -> None:
    write_grid(tmp_path, n_seeds=3)
    results = load(tmp_path)
    on_items = decompose(results, "accuracy", n_resamples=50)
    over_items = decompose(results, "accuracy", over_items=True, n_resamples=50)
    assert over_items.headline["estimator"].eq("cross-replicate, noise of items subtracted").all()
    seed = (d.headline.set_index("quantity").loc["V_seed", "variance"] for d in (on_items, over_items))
    assert next(seed) > next(seed)
    _check_item_noise(on_items, over_items, tmp_path)
    next((tmp_path / "downstream" / "tiny").iterdir()).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        decompose(results, "accuracy", over_items=True)


def _check_item_noise(on_items: Decomposition, over_items: Decomposition, folder: Path) -> None:
    """V_S of two searches is (difference of means)² / 4; its item noise is by hand from the items' covariance."""
    panel = on_items.panel
    answers = {}
    for path in (folder / "downstream" / "tiny").iterdir():
        text = json.loads(path.read_text())["task, first 4"]["metrics"]["acc"]["correct"]
        answers[path.stem] = np.array(list(text), dtype=float)
    x = np.stack([answers[s] for s in panel.rows["subset"]])
    sign = np.where(panel.rows["search"] == "greedy", 1.0, -1.0)
    contrasts = [(sign[panel.seeds == k][:, None] * x[panel.seeds == k]).mean(axis=0) for k in range(3)]
    noise = np.mean([np.cov(contrasts[k], contrasts[m])[0, 1] / 8 for k in range(3) for m in range(3) if k != m])
    difference = (
        on_items.headline.set_index("quantity").loc["V_S", "variance"]
        - over_items.headline.set_index("quantity").loc["V_S", "variance"]
    )
    assert difference == pytest.approx(100**2 * noise)


def test_items_need_a_complete_grid_and_an_accuracy(tmp_path: Path) -> None:
    write_grid(tmp_path, n_seeds=1)
    results = load(tmp_path)
    results.runs["calib_value"] += [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(AnalysisError, match="two calibration seeds or more"):
        decompose(results, "accuracy", over_items=True)
    with pytest.raises(AnalysisError, match="means over items only"):
        decompose(results, "calibration loss increase", over_items=True)
    with pytest.raises(AnalysisError, match="no response 'acuracy'; did you mean accuracy"):
        decompose(results, "acuracy")
    lost = replace(results, folder=None)
    assert lost.summary.startswith("4 runs")


def test_items_that_are_not_those_of_the_records_are_refused(tmp_path: Path) -> None:
    write_grid(tmp_path, n_seeds=3)
    path = sorted((tmp_path / "downstream" / "tiny").iterdir())[0]
    answers = json.loads(path.read_text())
    correct = answers["task, first 4"]["metrics"]["acc"]["correct"]
    other = "".join("10"[int(bit)] for bit in correct)
    for wrong, why in ((other, "force=true"), (correct + "1", "different numbers of items of task")):
        answers["task, first 4"]["metrics"]["acc"]["correct"] = wrong
        path.write_text(json.dumps(answers))
        with pytest.raises(DataError, match=why):
            decompose(load(tmp_path), "accuracy", over_items=True)


def test_logits_of_accuracy(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for i, values in enumerate(((0.25, 1.0), (0.5, 0.0))):
        store.put(make(f"r{i}", metrics=tuple(row(task, "acc", v) for task, v in zip("ab", values, strict=True))))
    results = load(tmp_path)
    expected = [(np.log(1.5 / 3.5) + np.log(4.5 / 0.5)) / 2, (np.log(2.5 / 2.5) + np.log(0.5 / 4.5)) / 2]
    assert response(results, "logit accuracy").values.tolist() == pytest.approx(expected)
    assert response(results, "logit accuracy of a").values.tolist() == pytest.approx([np.log(1.5 / 3.5), 0.0])
    for name in ("logit log perplexity", "logit logit accuracy", "logit "):
        with pytest.raises(AnalysisError, match="no response"):
            response(results, name)


@pytest.mark.slow
def test_the_analysis_never_loads_torch() -> None:
    code = (
        "import sys, importlib, pkgutil, deprune.analysis as a\n"
        "[importlib.import_module(f'deprune.analysis.{m.name}') for m in pkgutil.iter_modules(a.__path__)]\n"
        "heavy = {'torch', 'transformers', 'hydra', 'lm_eval', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
