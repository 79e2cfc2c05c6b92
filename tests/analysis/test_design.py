"""A factor stands in one place, and runs that differ in what is no factor are refused by name."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made import make_results, make_runs

from deprune.analysis import decompose, design, load, load_published
from deprune.analysis.design import Factor, Role
from deprune.analysis.patterns.consensus import consensus
from deprune.analysis.read.results import Results
from deprune.analysis.report import gather, judge, write_report
from deprune.analysis.searches.cost import spread_across_searches
from deprune.analysis.searches.gains import gains_over_oneshot
from deprune.core.errors import AnalysisError
from deprune.record.schema import FAILURE_SCHEMA_VERSION, FailureRecord
from deprune.record.store import ResultStore
from tests.analysis.sweeps import Truth, write_sweep
from tests.conftest import ROOT, pasted
from tests.test_record import make_record

IDENTITY: dict[str, Any] = {
    "model": {"name": "tiny", "revision": "69472bb1714a7297", "dtype": "float32"},
    "calib": {
        "name": "c4", "n_samples": 16, "seq_len": 32, "seed": 2, "repository": "allenai/c4", "fields": ["text"],
        "filter": {"language": "en"},
    },
    "objective": {"name": "nll", "version": 1},
    "search": {"name": "beam", "seed": None, "width": 5, "protect_first": 0, "protect_last": 0},
    "budget": 2,
    "eval": {
        "tasks": ["piqa"], "limit": 200, "corpora": ["c4"], "windows": None, "speed": False,
        "scorers": {"brevity": {"version": 1}},
    },
    "racing": 0.05,
    "treat": {"name": "healed", "steps": 100},
}  # fmt: skip


def entries(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from entries(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return "other" if value is None else [*value, "x"] if isinstance(value, list) else value * 2 or 1


def changed(identity: dict[str, Any], entry: str, change: Any) -> dict[str, Any]:
    new = copy.deepcopy(identity)
    *parents, last = entry.split(".")
    place = new
    for parent in parents:
        place = place[parent]
    place[last] = change(place.pop(last)) if callable(change) else change
    return new


def put(folder: Path, run_id: str, identity: dict[str, Any], **changes: Any) -> None:
    ResultStore(folder).put(make_record(run_id=run_id, identity=identity, treatment="healed", **changes))


@pytest.mark.parametrize("entry", [entry for entry, _ in entries(IDENTITY)])
def test_every_entry_is_a_factor_or_is_refused_by_its_name(entry: str, tmp_path: Path) -> None:
    was = dict(entries(IDENTITY))[entry]
    becomes = 1 if entry == "search.seed" else other(was)
    factor = design.covering(entry)
    names_it = factor is not None and not factor.tells_settings_apart
    for run_id, value in (("a", was), ("b", was), ("c", becomes)):
        level = {factor.name: value} if factor is not None and names_it else {}
        put(tmp_path, run_id, changed(IDENTITY, entry, value), **level)
    if factor is not None:
        assert load(tmp_path).runs[factor.name].nunique(dropna=False) == 2
        return
    with pytest.raises(AnalysisError, match="cannot be pooled") as refused:
        load(tmp_path)
    assert f" {entry} (" in str(refused.value), "the entry is named"
    key, where = pasted(str(refused.value).partition("keep one kind with ")[2][:-1])
    assert (key, [*where]) == ("where", [entry]), "and how to tell the runs apart"
    assert load(tmp_path, where=where).runs.index.tolist() == ["a", "b"]
    for value, kept in ((was, ["a", "b"]), (becomes, ["c"])):
        levels = [value] if isinstance(value, list) else value
        assert load(tmp_path, where={entry: levels}).runs.index.tolist() == kept
        text = value if isinstance(value, str) else json.dumps(value)
        assert load(tmp_path, where={entry: text}).runs.index.tolist() == kept, "as the message writes it"


@pytest.mark.parametrize("entry", ["racing", "eval.limit", "eval.scorers", "treat"])
def test_an_absent_default_is_a_value(entry: str, tmp_path: Path) -> None:
    put(tmp_path, "with", IDENTITY)
    identity = copy.deepcopy(IDENTITY)
    part, _, key = entry.partition(".")
    del (identity[part] if key else identity)[key or part]
    put(tmp_path, "without", identity)
    if design.covering(entry) is None:
        with pytest.raises(AnalysisError, match=rf" {entry}[. ].*null"):
            load(tmp_path)
    else:
        assert load(tmp_path).runs["treatment"].nunique() == 2


def test_dense_runs_lack_a_search_and_are_kept(tmp_path: Path) -> None:
    put(tmp_path, "pruned", IDENTITY)
    dense = {k: v for k, v in IDENTITY.items() if k not in ("racing", "treat")} | {"search": None, "budget": 0}
    put(tmp_path, "dense", dense, budget=0, search="dense")
    assert len(load(tmp_path).runs) == 2
    put(tmp_path, "protected", changed(IDENTITY, "search.protect_first", 1))
    with pytest.raises(AnalysisError, match=r"search\.protect_first \(0, 1\)"):
        load(tmp_path)
    assert load(tmp_path, where={"search.protect_first": 1}).runs.index.tolist() == ["dense", "protected"]
    with pytest.raises(AnalysisError, match=r"no level of search\.protect_first '2'"):
        load(tmp_path, where={"search.protect_first": 2})
    put(tmp_path, "other-dtype", changed(dense, "model.dtype", "bfloat16"), budget=0, search="dense")
    with pytest.raises(AnalysisError, match=r"model\.dtype \(bfloat16, float32\)"):
        load(tmp_path, where={"search.protect_first": 1})


def test_all_that_differs_is_named_at_once(tmp_path: Path) -> None:
    for run_id, dtype, limit in (("a", "float32", 20), ("b", "float32", 20), ("c", "bfloat16", None)):
        put(tmp_path, run_id, changed(changed(IDENTITY, "model.dtype", dtype), "eval.limit", limit))
    with pytest.raises(AnalysisError) as refused:
        load(tmp_path)
    assert "model.dtype (bfloat16, float32); eval.limit (20, null)" in str(refused.value)
    assert "keep one kind with 'where={model.dtype: float32, eval.limit: 20}'." in str(refused.value)
    assert len(load(tmp_path, where={"model.dtype": "float32", "eval.limit": 20}).runs) == 2
    assert len(load(tmp_path, where={"eval.limit": None}).runs) == 1


def test_factors_cover_what_the_committed_study_is_a_function_of() -> None:
    assert {f.place.partition(".")[0] for f in design.FACTORS} == {"factors"}
    covered = {e: design.covering(e) for e, _ in entries(IDENTITY)}
    uncovered = {e.partition(".")[0] for e, f in covered.items() if f is None}
    assert uncovered == {"model", "search", "eval", "racing"}
    assert {e for e, f in covered.items() if f is None and e.partition(".")[0] in ("model", "search")} == {
        "model.dtype", "search.protect_first", "search.protect_last",
    }  # fmt: skip


DTYPE = Factor(name="dtype", role=Role.CONDITION, place="identity.model.dtype", covers=("model.dtype",))
CORPUS = Factor(name="filter", role=Role.CALIBRATION, place="identity.calib.filter", covers=("calib.filter",), tag="f")


def write_grid(folder: Path, part: str, name: str, levels: tuple[str, ...]) -> None:
    for level in levels:
        write_sweep(
            folder / level, Truth(), {"model": ("tiny",), "budget": (3,), "calib_seed": range(3)}, seed=len(level)
        )
        for record in ResultStore(folder / level).records():
            identity = record.identity | {part: {name: level}}
            sizes = replace(record.removal, loss=record.removal.loss + len(level))
            ResultStore(folder).put(
                replace(record, run_id=f"{record.run_id}-{level}", identity=identity, removal=sizes)
            )


@pytest.mark.slow
def test_a_factor_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the records to the report: read, decomposed by, compared within; and lenient with failures."""
    write_grid(tmp_path / "r", "model", "dtype", ("float32", "bf16"))
    with pytest.raises(AnalysisError, match=r"model\.dtype \("):
        load(tmp_path / "r")
    monkeypatch.setattr(design, "FACTORS", (*design.FACTORS[:2], DTYPE, *design.FACTORS[2:]))
    failure = FailureRecord(
        schema_version=FAILURE_SCHEMA_VERSION, run_id="lost", exception="E", reason="no", phase="search", log="log",
        identity={"model": {"dtype": "float16"}}, factors=make_record().factors,
    )  # fmt: skip
    ResultStore(tmp_path / "r").put_failure(failure)
    results = load(tmp_path / "r")
    assert results.failures["dtype"].tolist() == ["float16"]
    assert results.runs["dtype"].cat.categories.tolist() == ["bf16", "float16", "float32"]
    found = decompose(results, "calibration loss increase", n_resamples=20)
    assert found.panel.grid.factors[:2] == ("dtype", "calib_dataset")
    assert found.headline.set_index("quantity").loc["V_condition", "variance"] > 1
    assert {"dtype", "search"} <= set(found.leave_one_out["factor"])
    for table in (consensus(results), spread_across_searches(results, "accuracy")):
        assert set(table["dtype"]) == {"bf16", "float32"}
    evidence = gather(results, ["accuracy", "log perplexity"], n_resamples=20)
    assert len(evidence.ranks) == 2 * 4
    assert "similar subsets, tiny, k = 3, bf16" in {part.subject for part in judge(evidence)[1].parts}
    assert write_report(evidence, tmp_path / "out").is_file()
    assert len(load_published().runs) == 90, "tables from elsewhere need not know of it"


def test_the_guide_to_adding_a_factor_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "deprune" / "analysis" / "README.md").read_text().split("## Adding a factor")[1]
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for dtype, seed, loss in (("float32", 0, 2.0), ("float32", 1, 2.1), ("bf16", 0, 3.0), ("bf16", 1, 3.1)):
        identity = changed(changed(IDENTITY, "model.dtype", dtype), "calib.seed", seed)
        put(tmp_path, f"{dtype}-{seed}", identity, calib_seed=seed, calib_sample_id=str(seed), calib_value=loss)
    with pytest.raises(AnalysisError, match=r"model\.dtype \("):
        load(tmp_path)
    monkeypatch.setattr(design, "FACTORS", design.FACTORS)  # the guide changes it
    exec(code, {})
    found = decompose(load(tmp_path), "calibration loss increase", n_resamples=20)
    assert found.panel.grid.factors == ("dtype",)
    assert found.components.set_index("term").loc["dtype", "sigma2"] == pytest.approx(0.25)


def test_a_factor_of_the_calibration_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path, "calib", "filter", ("en", "german"))
    assert load(tmp_path).runs["calib_dataset"].cat.categories[:2].tolist() == [
        "arithmetic filter=en", "arithmetic filter=german",
    ]  # fmt: skip
    monkeypatch.setattr(design, "FACTORS", (*design.FACTORS, CORPUS))
    results = load(tmp_path)
    assert results.runs["calib_dataset"].nunique() == 4
    assert results.runs["calib_config"].iloc[0].endswith(" fen")
    found = decompose(results, "calibration loss increase", n_resamples=20)
    assert {"calib_dataset", "filter"} == set(found.panel.calibration) == set(found.calibration_parts["factor"])


def treated(n_seeds: int = 3) -> Results:
    """Twice the same sweep, once with a treatment that adds ten points; one-shot is treated in half of the cells."""
    runs = make_runs({"model": ("m0",), "search": ("oneshot", "greedy", "beam")}, n_seeds=n_seeds)
    rng = np.random.default_rng(0)
    effect = rng.normal(size=4)[runs["calib_dataset"].cat.codes] + 2.0 * (runs["search"] != "oneshot")
    values = 50 + effect.to_numpy() + rng.normal(size=len(runs))
    healed = runs.assign(treatment="healed")
    healed.index = "healed " + healed.index
    both = pd.concat([runs.assign(treatment="none"), healed])
    return make_results(both, np.concatenate([values, values + 10 * np.where(runs["budget"] == 7, 1, 2)]))


def test_treatments_are_never_averaged_over() -> None:
    results = treated()
    alone = results.where({"treatment": "none"})
    found, expected = (
        decompose(r, "accuracy", n_resamples=20).headline.set_index("quantity") for r in (results, alone)
    )
    for quantity in ("V_C", "V_S", "V_CS", "V_seed"):
        assert found.loc[quantity, "variance"] == pytest.approx(expected.loc[quantity, "variance"])
    assert found.loc["V_condition", "variance"] > expected.loc["V_condition", "variance"] + 50
    kept = (
        (results.runs["treatment"] == "healed") | (results.runs["search"] != "oneshot") | (results.runs["budget"] == 9)
    )
    partial = replace(results, runs=results.runs[kept])
    for some in (results, partial):
        gains = gains_over_oneshot(some, "accuracy").set_index("search")["gain"]
        assert gains.tolist() == pytest.approx([2.0, 2.0], abs=0.6), "within a treatment, not across"
    assert len(spread_across_searches(results, "accuracy")) == 2 * len(spread_across_searches(alone, "accuracy"))


def test_no_treatment_is_not_mentioned() -> None:
    results = treated().where({"treatment": "none"})
    found = decompose(results, "accuracy", n_resamples=20)
    assert "treatment" not in " ".join(found.notes)
    assert "treatment" not in spread_across_searches(results, "accuracy")
    healed = decompose(treated().where({"treatment": "healed"}), "accuracy", n_resamples=20)
    assert "treatment has a single level, healed" in " ".join(healed.notes)


def test_not_every_model_has_every_treatment() -> None:
    runs = treated().runs.assign(model=lambda r: np.where(r["treatment"] == "none", "m0", "m1"))
    values = pd.Series(np.random.default_rng(0).normal(size=len(runs)), index=runs.index)
    found = decompose(make_results(runs, 50 + values.to_numpy()), "accuracy", n_resamples=20)
    assert found.panel.grid.factors[0] == "condition"
    assert found.panel.grid.levels[0] == ("m0 7 none", "m0 9 none", "m1 7 healed", "m1 9 healed")
