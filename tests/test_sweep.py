"""The whole road on the embedded models: grid, table, resume, reproducibility, tracking."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data.tasks import load_task
from deprune.downstream.choices import MultipleChoice
from deprune.model.prune import blocks_removed
from deprune.model.pruned import PrunedModel
from deprune.model.source import EMBEDDED_FOLDER
from deprune.record.schema import RunRecord
from deprune.record.store import read_record
from deprune.run.launch import process_session
from tests.conftest import Command

SMALL = ["calib.n_samples=4", "calib.seq_len=64", "eval.limit=20", "eval.windows=4"]


def records_in(folder: Path) -> list[RunRecord]:
    return [read_record(path) for path in sorted(folder.rglob("record.json"))]


def without_times(record: RunRecord) -> dict[str, Any]:
    content = asdict(record)
    del content["cost"]["seconds"], content["cost"]["peak_memory_bytes"], content["provenance"]["written_at"]
    return content


@pytest.mark.slow
def test_grid_leaves_records_table_and_offline_runs(sweep: Command, tmp_path: Path) -> None:
    command = ["-m", "calib=narratives,facts", "search=greedy,oneshot", "budget=2", *SMALL]
    result = sweep(*command)
    assert result.code == 0, result.err
    assert "Jobs: 4 done, 0 found done before, 0 failed." in result.out
    assert "Results: results" in result.out
    records = records_in(tmp_path)
    assert len(records) == 4
    for record in records:
        assert f"{100 * record.scores.dense_accuracy:.1f}→{100 * record.scores.accuracy:.1f}" in result.out
        assert f"{math.exp(record.removal.loss):.2f}" in result.out
    draws = {(r.factors.calib_dataset, r.draw.sample_id) for r in records}
    assert len(draws) == 2, "the searches of a cell must share a draw"
    assert len(list(tmp_path.glob("results/wandb/offline-run-*"))) == 4

    again = sweep(*command)
    assert again.code == 0
    assert "Nothing left to do: all 4 jobs have their records" in again.out
    assert len(list(tmp_path.glob("results/wandb/offline-run-*"))) == 4


@pytest.mark.slow
def test_same_configuration_gives_the_same_record(sweep_here: Command, tmp_path: Path) -> None:
    job = ["budget=2", "search=oneshot", "tracking=none", *SMALL]
    for folder in ("one", "two"):
        assert sweep_here(*job, f"results_dir={folder}").code == 0
    one, two = (records_in(tmp_path / folder) for folder in ("one", "two"))
    assert [without_times(r) for r in one] == [without_times(r) for r in two]
    assert sweep_here(*job, "results_dir=one", "force=true").code == 0
    (forced,) = records_in(tmp_path / "one")
    assert without_times(forced) == without_times(one[0])
    assert forced.cost.evaluations["computed"] == one[0].cost.evaluations["computed"] > 0
    assert forced.cost.evaluations["remembered"] == one[0].cost.evaluations["remembered"]


def test_ways_to_ask_for_the_same_run_share_a_record(sweep_here: Command, tmp_path: Path) -> None:
    same = (["budget=3"], ["budget=0.25"], ["budget=3", "seed=7"], ["budget=3", "dtype=float32", "device=cpu"])
    for overrides in same:
        assert sweep_here(*overrides, "search=oneshot", "eval=none", "tracking=none", *SMALL).code == 0
    assert len(records_in(tmp_path)) == 1, "one-shot is deterministic, so its seed is no factor"
    for seed in (0, 1):
        assert sweep_here("budget=3", f"seed={seed}", "search=random", "eval=none", "tracking=none", *SMALL).code == 0
    assert len(records_in(tmp_path)) == 3


def test_budget_zero_is_the_dense_model(sweep_here: Command, tmp_path: Path) -> None:
    for search in ("greedy", "random"):
        assert sweep_here("budget=0", f"search={search}", "tracking=none", *SMALL).code == 0
    (record,) = records_in(tmp_path)
    assert record.is_dense
    assert (record.factors.search, record.removal.search) == ("dense", None)
    assert record.removal.order == ()
    assert record.removal.loss == record.removal.dense_loss
    assert record.scores.accuracy == record.scores.dense_accuracy
    assert all(row.value == row.dense_value for row in record.scores.metrics)


def test_scores_are_those_of_the_pruned_model(sweep_here: Command, tmp_path: Path) -> None:
    """Accuracy recomputed from the items by hand, with transformers alone."""
    from itertools import islice

    from deprune.embedded.task_items import items

    overrides = ["budget=4", "search=random", "tracking=none", "eval.tasks=[mini_two_hop]", *SMALL]
    assert sweep_here(*overrides, "eval.limit=40").code == 0
    (record,) = records_in(tmp_path)
    folder = EMBEDDED_FOLDER / "tiny_llama"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    right = []
    with blocks_removed(model, BlockSubset.of(12, record.removal.order)), torch.inference_mode():
        for item in islice(items("mini_two_hop", "test"), 40):
            start = len(tokenizer.encode(item.context))
            scores = []
            for choice in item.choices:
                ids = torch.tensor([tokenizer.encode(f"{item.context} {choice}")])
                log_p = model(ids).logits[0].log_softmax(-1)
                scores.append(sum(log_p[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1])))
            right.append(scores.index(max(scores)) == item.answer)
    row = next(r for r in record.scores.metrics if r.response == "accuracy")
    stored = json.loads((tmp_path / "results" / "downstream" / record.provenance.stores["downstream"]).read_text())
    (scored,) = (r for rows in stored.values() for r in rows if (r["task"], r["metric"]) == (row.task, row.metric))
    assert scored["items"] == [int(r) for r in right]
    assert row.value == scored["value"] == pytest.approx(sum(right) / 40)
    assert row.stderr == pytest.approx(math.sqrt(row.value * (1 - row.value) / 39))
    assert (row.chance, row.unit, row.n_items) == (0.25, "share", 40)


def test_a_subset_is_scored_once_whoever_asks(
    sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    score = MultipleChoice.score

    def counted(self: MultipleChoice, task: str, models: Sequence[PrunedModel], memory: Memory) -> Any:
        if self.limit == 20:  # not the rehearsal
            computed.extend([task] * len(models))
        return score(self, task, models, memory)

    monkeypatch.setattr(MultipleChoice, "score", counted)
    job = ["search=oneshot", "budget=1", "tracking=none", "eval.tasks=[mini_one_hop]", "eval.corpora=[]", *SMALL]
    sweep_here(*job)
    assert computed == ["mini_one_hop"] * 2  # dense and pruned
    sweep_here(*job, "search=greedy")  # finds the same block
    assert len(computed) == 2
    sweep_here(*job, "eval.tasks=[mini_one_hop,mini_reference]")
    assert computed[2:] == ["mini_reference"] * 2


def test_full_error_shows_the_traceback(sweep_here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("DEPRUNE_TRACEBACKS")
    with pytest.raises(Exception, match="does not fit a model"):
        sweep_here("budget=99", "tracking=none", *SMALL)


def test_help_explains_groups_with_examples(sweep_here: Command) -> None:
    result = sweep_here("--help")
    assert result.code == 0
    for text in ("python -m deprune.sweep -m calib=c4,wikitext", "search: angular, beam", "eval.limit"):
        assert text in result.out


@pytest.mark.slow
def test_tasks_are_built_once_per_process(sweep_here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[str]()
    process_session.cache_clear()
    monkeypatch.setattr("deprune.downstream.choices.load_task", lambda task: built.append(task) or load_task(task))
    job = ["search=random", "seed=1,2,3", "budget=2", "tracking=none", "eval.tasks=[mini_one_hop]", *SMALL]
    assert sweep_here("-m", *job).code == 0
    process_session.cache_clear()
    assert built == ["mini_one_hop"]


@pytest.mark.slow
def test_racing_is_part_of_what_a_run_is(sweep_here: Command, tmp_path: Path) -> None:
    job = ["search=greedy", "budget=2", "eval=none", "tracking=none", "calib.n_samples=32", "calib.seq_len=16"]
    for racing in ("false", "true"):
        assert sweep_here(*job, f"evaluator.racing={racing}", "evaluator.batch_size=4").code == 0
    records = [read_record(path) for path in tmp_path.rglob("record.json")]
    assert sorted(r.removal.racing for r in records) == [False, True]
    assert len({r.run_id for r in records}) == 2


@pytest.mark.slow
def test_items_give_accuracy_and_speed_is_measured_where_wanted(sweep_here: Command, tmp_path: Path) -> None:
    job = ["calib=mini_items", "search=oneshot", "budget=3", "tracking=none", "calib.n_samples=12"]
    assert sweep_here(*job, "eval=none", "eval.speed=true").code == 0
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert record.factors.objective == "task_margin"
    assert record.removal.accuracy is not None
    assert 0 <= record.removal.accuracy <= 1
    assert record.removal.accuracy * 12 == pytest.approx(round(record.removal.accuracy * 12))
    rows = {row.metric: row for row in record.scores.metrics}
    assert 0 < rows["parameters"].value < rows["parameters"].dense_value
    assert min(rows["decode_tokens_per_second"].value, rows["decode_tokens_per_second"].dense_value) > 0


def test_an_objective_of_items_refuses_text_before_any_model_is_loaded(sweep_here: Command) -> None:
    result = sweep_here("objective=task_margin", "calib=facts", "model=hub", "model.path=nowhere/at-all")
    assert result.code == 1
    assert "task_margin needs multiple-choice items, but the calibration 'facts' is text" in result.err
