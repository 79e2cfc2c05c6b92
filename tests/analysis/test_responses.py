"""What is explained comes from the rows of scores, whoever's scorer gave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deprune.analysis import decompose, load, response, response_names
from deprune.analysis.figures import quality_cost
from deprune.analysis.read.responses import responses_of
from deprune.analysis.report import gather, write_report
from deprune.analysis.searches.cost import quality_against_cost
from deprune.analysis.searches.gains import gains_over_oneshot
from deprune.core.errors import AnalysisError, DataError
from deprune.record.schema import MetricRow
from deprune.record.store import ResultStore
from tests.analysis.sweeps import Truth, write_sweep
from tests.test_record import make_record

SMALL = {"model": ("tiny",), "budget": (3,), "calib_seed": range(3), "search": ("oneshot", "greedy", "beam")}


def brevity(task: str, value: float | None, **changes: Any) -> MetricRow:
    fields: dict[str, Any] = {
        "scorer": "mine", "task": task, "metric": "length", "response": "brevity", "value": value, "stderr": None,
        "dense_value": 10.0, "dense_stderr": None, "unit": "words", "higher_is_better": False, "chance": None,
        "n_items": 4, "item_set": "i", "version": "1",
    }  # fmt: skip
    return MetricRow(**{**fields, **changes})


def write_brevity(folder: Path, *, higher: bool = False, items: bool = True) -> None:
    """A sweep whose answers get longer (or, as another measure, shorter) with what pruning costs."""
    write_sweep(folder / "made", Truth(gain=0.25), SMALL)
    rng = np.random.default_rng(0)
    for record in ResultStore(folder / "made").records():
        damage = record.removal.loss - record.removal.dense_loss
        answers = {t: 10 + (-30 if higher else 30) * damage + rng.normal(size=4) for t in ("essay", "letter")}
        rows = [brevity(t, float(a.mean()), higher_is_better=higher, chance=12.0) for t, a in answers.items()]
        unexplained = brevity("essay", 1.0, metric="noise", response=None)
        scores = replace(record.scores, metrics=(*record.scores.metrics, *rows, unexplained))
        stores = {**record.provenance.stores, "downstream": f"made/{record.run_id}.json"}
        provenance = replace(record.provenance, stores=stores)
        ResultStore(folder).put(replace(record, scores=scores, provenance=provenance))
        if items:
            path = folder / "downstream" / "made" / f"{record.run_id}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [
                {"task": r.task, "metric": r.metric, "item_set": "i", "items": answers[r.task].tolist()} for r in rows
            ]
            path.write_text(json.dumps({"some key": kept[:1], "another": kept[1:]}))


def test_a_scorer_of_ones_own_gives_responses(tmp_path: Path) -> None:
    write_brevity(tmp_path)
    results = load(tmp_path)
    assert response_names(results) == [
        "accuracy", "log perplexity", "brevity", "calibration loss increase", "accuracy of arithmetic",
        "accuracy of two_hop", "log perplexity of held_out", "brevity of essay", "brevity of letter",
    ]  # fmt: skip
    mean, part = response(results, "brevity"), response(results, "brevity of essay")
    assert (mean.task, mean.tasks, part.task) == (None, ("essay", "letter"), "essay")
    assert (mean.unit, mean.higher_is_better, mean.chance, mean.scale) == ("words", False, 12.0, 1.0)
    assert mean.values.tolist() == pytest.approx(
        ((part.values + response(results, "brevity of letter").values) / 2).tolist()
    )
    with pytest.raises(AnalysisError, match="no response"):
        response(results, "logit brevity")
    found = decompose(results, "brevity", over_items=True, n_resamples=50)
    assert found.headline["unit"].eq("words").all()
    plain = decompose(results, "brevity", n_resamples=50).headline.set_index("quantity")["variance"]
    assert found.headline.set_index("quantity").loc["V_seed", "variance"] < plain["V_seed"]


@pytest.mark.parametrize("higher", [False, True])
def test_its_direction_is_kept(higher: bool, tmp_path: Path) -> None:
    write_brevity(tmp_path, higher=higher)
    results = load(tmp_path)
    gains = gains_over_oneshot(results, "brevity").set_index("search")
    assert (gains["recovered"] - 0.25).abs().max() < 0.2
    table = quality_against_cost(results, "brevity")
    best = table.loc[table.groupby("calib_config", observed=True)["value"].agg("idxmax" if higher else "idxmin")]
    assert best["on_front"].all()
    cheapest = table.loc[table.groupby("calib_config", observed=True)["cost"].idxmin()]
    assert cheapest["on_front"].all()
    assert quality_cost(table, "brevity [words]", higher_is_better=higher).axes


@pytest.mark.slow
def test_it_is_in_the_report(tmp_path: Path) -> None:
    write_brevity(tmp_path / "results")
    evidence = gather(load(tmp_path / "results"), ["brevity", "brevity of essay"], n_resamples=20)
    subject = evidence.subject("brevity")
    assert subject is not None
    assert "noise of items is subtracted" in subject.notes[-1]
    assert subject.label == "brevity [words]"
    page = write_report(evidence, tmp_path / "report").read_text()
    assert "brevity of essay" in page


def test_its_items_are_those_of_its_rows(tmp_path: Path) -> None:
    write_brevity(tmp_path)
    path = next((tmp_path / "downstream" / "made").iterdir())
    stored = json.loads(path.read_text())
    for key, wrong, why in (
        ("item_set", "other", "lacks the items of essay"),
        ("items", [0.0] * 4, "give the brevity"),
    ):
        path.write_text(json.dumps({**stored, "some key": [{**stored["some key"][0], key: wrong}]}))
        with pytest.raises(DataError, match=why):
            decompose(load(tmp_path), "brevity", over_items=True)


def put(folder: Path, *rows: MetricRow) -> None:
    for number, row in enumerate(rows):
        ResultStore(folder).put(make_record(run_id=f"r{number}", metrics=(row,), model=f"m{number}"))


def test_windows_are_compared_within_a_tokenizer_and_items_across(tmp_path: Path) -> None:
    put(tmp_path / "windows", *(brevity("c4", 1.0, unit="bit/token", item_set=i) for i in "ij"))
    assert response(load(tmp_path / "windows"), "brevity").values.tolist() == [1.0, 1.0]
    put(tmp_path / "items", *(brevity("c4", 1.0, item_set=i) for i in "ij"))
    with pytest.raises(AnalysisError, match="not all scored on the same items of c4"):
        response(load(tmp_path / "items"), "brevity")


@pytest.mark.parametrize("field", ["unit", "higher_is_better", "metric"])
def test_rows_of_one_response_measure_the_same(field: str, tmp_path: Path) -> None:
    put(tmp_path, brevity("c4", 1.0), brevity("c4", 1.0, **{field: True if field == "higher_is_better" else "other"}))
    with pytest.raises(AnalysisError, match=f"differ in {field}"):
        response(load(tmp_path), "brevity")


def test_units_and_levels_of_chance(tmp_path: Path) -> None:
    shares = [
        brevity(t, 0.5, response="accuracy", unit="share", dense_value=0.9, chance=c)
        for t, c in (("a", 0.5), ("b", None))
    ]
    ResultStore(tmp_path).put(
        make_record(metrics=(*shares, brevity("a", 0.25, response="hits", unit="share", dense_value=0.9, chance=0.1)))
    )
    found = {r.name: r for r in responses_of(load(tmp_path))}
    assert found["accuracy of a"].chance == 50.0
    assert found["accuracy of b"].chance is found["accuracy"].chance is None, "not known of all tasks"
    assert (found["hits"].unit, found["hits"].chance) == ("percentage points", 10.0)
    assert response(load(tmp_path), "logit hits").values.tolist() == pytest.approx([np.log(1.5 / 3.5)])
