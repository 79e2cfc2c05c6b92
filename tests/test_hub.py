"""The real Hub clients against a local Hub with real data, and what happens when there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from deprune.record.store import read_record
from tests.conftest import ROOT, SHARED, Command, CommandResult, SilentServer, hubs, user_environment
from tests.warm import WarmProcess

pytestmark = pytest.mark.slow

STORIES_MODEL = "tinystories/tinystories-instruct-3m-chat-gptneo-8L"
STORIES = ["model=hub", f"model.path={STORIES_MODEL}"]
SMALL = ["calib.n_samples=16", "calib.seq_len=128", "tracking=none"]
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9"}

Hub = Callable[..., str]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """A process with a Hub and a home that several tests share."""
    folder = tmp_path_factory.mktemp("warm")
    with hubs(folder) as start:
        process = WarmProcess(user_environment(folder / "home") | {"HF_ENDPOINT": start()})
        yield process
        process.close()


@pytest.fixture
def at_hub(warm: WarmProcess, tmp_path: Path) -> Command:
    """Runs `python -m deprune.sweep` with a Hub, in a process that is forked."""
    return lambda *overrides: CommandResult(*warm.run(tmp_path, "deprune.sweep", *overrides))


def records_in(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in folder.rglob("record.json")]


def test_grid_of_real_model_real_corpora_real_tasks(at_hub: Command, tmp_path: Path) -> None:
    command = ["-m", *STORIES, "calib=c4,wikitext", "search=greedy,oneshot", "budget=2"]
    command += ["calib.n_samples=16", "calib.seq_len=128", "eval=reasoning", "eval.limit=10"]
    result = at_hub(*command)
    assert result.code == 0, result.err
    assert "Jobs: 4 done, 0 found done before, 0 failed." in result.out
    records = [read_record(path) for path in tmp_path.rglob("record.json")]
    assert {(r.factors.calib_dataset, r.factors.search) for r in records} == {
        (c, s) for c in ("c4", "wikitext") for s in ("greedy", "oneshot")
    }
    tasks = {"hellaswag", "winogrande", "arc_easy", "arc_challenge", "piqa", "boolq"}
    for record in records:
        rows = [row for row in record.scores.metrics if row.scorer == "choices"]
        assert {row.task for row in rows} == tasks
        assert {row.n_items for row in rows} == {10}
        assert {(row.task, row.chance) for row in rows} >= {("hellaswag", 0.25), ("winogrande", 0.5), ("boolq", 0.5)}
        assert record.removal.loss > record.removal.dense_loss
    again = at_hub(*command)
    assert "Nothing left to do: all 4 jobs" in again.out


def test_dense_loss_on_stories_is_the_known_one(at_hub: Command, tmp_path: Path) -> None:
    stories = SHARED / "hub/datasets/roneneldan/TinyStories/data/validation-00000-of-00001.parquet"
    text = "\n<|endoftext|>\n".join(parquet.read_table(stories)["text"].to_pylist()[-200:])
    (tmp_path / "stories.txt").write_text(text)
    local = ["calib=local", "calib.path=stories.txt", "calib.n_samples=100", "calib.seq_len=256"]
    result = at_hub(*STORIES, *local, "budget=0", "eval=none", "tracking=none")
    assert result.code == 0, result.err
    (record,) = records_in(tmp_path)
    assert record["removal"]["dense_loss"] == pytest.approx(1.94, abs=0.1)
    assert str(tmp_path) not in json.dumps(record)


def test_users_own_command_works(at_hub: Command, tmp_path: Path) -> None:
    result = at_hub("-m", "calib=c4,wikitext", "search=greedy,oneshot")
    assert result.code == 0, result.err
    assert len(records_in(tmp_path)) == 4
    assert list(tmp_path.glob("results/wandb/offline-run-*")), "the runs were not tracked offline"


def test_no_hub_is_one_sentence_after_three_attempts(
    sweep: Command, tmp_path: Path, silent_server: SilentServer
) -> None:
    """The four jobs of the grid ask together, where the libraries would each go on for minutes."""
    result = sweep("-m", "calib=c4,wikitext", "search=greedy,oneshot", env={"HF_ENDPOINT": silent_server.url})
    assert silent_server.attempts == 3
    assert result.code == 1
    assert result.out.count(f"The Hub at {silent_server.url} does not answer, and the calibration data must") == 1
    for way_out in ("network", "HF_ENDPOINT", "HF_HUB_OFFLINE=1", "calib=local calib.path="):
        assert way_out in result.out
    assert "Traceback" not in result.out + result.err
    assert not records_in(tmp_path)


def test_model_and_tasks_without_a_hub_say_so_too(sweep: Command) -> None:
    model = sweep(*STORIES, "budget=1", *SMALL, env=NOWHERE)
    assert model.code == 1
    assert "does not answer, and the model must come from it" in model.err
    tasks = sweep("eval=reasoning", "budget=1", *SMALL, env=NOWHERE)
    assert tasks.code == 1
    assert "does not answer, and the evaluation data must come from it" in tasks.err
    assert "eval=mini" in tasks.err


def test_gated_repositories(sweep: Command, hub: Hub) -> None:
    environment = {"HF_ENDPOINT": hub("--gated", STORIES_MODEL, "--gated", "allenai/c4")}
    for overrides, what in ((STORIES, f"model {STORIES_MODEL}"), (["calib=c4"], "data set allenai/c4")):
        result = sweep(*overrides, "eval=none", "budget=1", *SMALL, env=environment)
        assert result.code == 1
        assert f"The {what} cannot be had: it is gated" in result.err
        assert "HF_TOKEN" in result.err
        assert "Traceback" not in result.err


def test_names_that_the_hub_does_not_know(at_hub: Command) -> None:
    model = at_hub("model=hub", "model.path=nobody/nothing", "budget=1", *SMALL)
    assert model.code == 1
    assert "there is no such public repository" in model.err
    corpus = at_hub("calib=c4", "calib.path=nobody/nothing", "budget=1", *SMALL)
    assert corpus.code == 1
    assert "there is no such public repository" in corpus.err


def test_hub_that_fails_twice_just_works(sweep: Command, hub: Hub, tmp_path: Path) -> None:
    for overrides in (STORIES, ["calib=c4"]):
        environment = {"HF_ENDPOINT": hub("--fail-first", "2")}
        result = sweep(*overrides, "eval=none", "budget=1", "search=oneshot", *SMALL, env=environment)
        assert result.code == 0, result.err
    assert len(records_in(tmp_path)) == 2


def test_cache_serves_when_the_hub_is_gone(sweep: Command, hub: Hub, tmp_path: Path) -> None:
    command = [*STORIES, "calib=wikitext", "eval=none", "budget=1", *SMALL]
    assert sweep(*command, "search=oneshot", env={"HF_ENDPOINT": hub()}).code == 0
    offline = sweep(*command, "search=greedy", env=NOWHERE | {"HF_HUB_OFFLINE": "1"})
    assert offline.code == 0, offline.err
    first, second = records_in(tmp_path)
    assert first["draw"] == second["draw"]
    assert first["provenance"]["model_revision"] == second["provenance"]["model_revision"]
    assert math.isfinite(float(str(second["removal"]["loss"])))


def test_all_searches_on_all_kinds_of_calibration(at_hub: Command, tmp_path: Path) -> None:
    """Each calibration comes with its objective; the table says which."""
    searches = sorted(path.stem for path in (ROOT / "conf" / "search").glob("*.yaml"))
    command = ["-m", *STORIES, "model.name=stories", "calib=c4,wikitext,tinystories,commonsense170k"]
    command += [f"search={','.join(searches)}", "budget=2", "calib.n_samples=2", "calib.seq_len=200", "eval=none"]
    result = at_hub(*command, "evaluator.batch_size=2", "tracking=none")
    assert result.code == 0, result.err
    assert f"Jobs: {4 * len(searches)} done, 0 found done before, 0 failed." in result.out
    records = [read_record(path) for path in tmp_path.rglob("record.json")]
    assert {(r.factors.calib_dataset, r.factors.objective) for r in records} == {
        ("c4", "nll"), ("wikitext", "nll"), ("tinystories", "nll"), ("commonsense170k", "task_margin"),
    }  # fmt: skip
    for record in records:
        assert (record.removal.accuracy is None) == (record.factors.objective == "nll")
        best = min(r.removal.loss for r in records if r.factors.calib_dataset == record.factors.calib_dataset)
        assert record.factors.search != "exhaustive" or record.removal.loss == best
    assert result.out.count("margin ") == len(searches)


def test_perplexity_on_the_studys_corpora_and_overlap_with_the_calibration(at_hub: Command, tmp_path: Path) -> None:
    """Calibrated on the test split's first lines, the run is warned; on the training split it is not."""
    folder = SHARED / "hub/datasets/Salesforce/wikitext/wikitext-2-raw-v1"
    lines = parquet.read_table(next(folder.glob("test*.parquet")))["text"].to_pylist()
    (tmp_path / "leaked.jsonl").write_text(json.dumps({"text": "\n\n".join(lines[:40])}))
    job = [*STORIES, "search=last", "budget=1", "calib.n_samples=4", "calib.seq_len=128", "tracking=none"]
    job += ["eval=study", "eval.tasks=[]", "eval.windows=2"]
    for calibration in (["calib=wikitext"], ["calib=local", "calib.path=leaked.jsonl"]):
        result = at_hub(*job, *calibration)
        assert result.code == 0, result.err
    records = [read_record(path) for path in tmp_path.rglob("record.json")]
    warnings = {record.factors.calib_dataset: record.provenance.warnings for record in records}
    assert warnings["wikitext"] == ()
    (warning,) = warnings["local"]
    assert "calibration samples share" in warning
    assert "wikitext2" in warning
    for record in records:
        rows = {row.task: row for row in record.scores.metrics if row.metric == "log_perplexity"}
        assert set(rows) == {"wikitext2", "c4", "lambada"}
        assert all(row.value > row.dense_value > 0 and row.n_items == 2 for row in rows.values())
        assert not any(row.higher_is_better for row in rows.values())


def test_items_of_a_benchmarks_training_split(at_hub: Command, tmp_path: Path) -> None:
    job = [*STORIES, "calib=task", "search=shortgpt", "budget=1", "calib.n_samples=4", "eval=none", "tracking=none"]
    result = at_hub(*job, "calib.task=openbookqa_nowhere")
    assert (result.code, "Error: There is no" in result.err) == (1, True)
    result = at_hub(*job, "calib.task=lambada_openai")
    assert "not a multiple-choice task with a training split" in result.err
    result = at_hub(*job, "calib.task=winogrande", "calib.seq_len=256")
    assert result.code == 0, result.err
    (path,) = tmp_path.rglob("record.json")
    record = read_record(path)
    assert (record.factors.calib_dataset, record.factors.objective) == ("winogrande", "task_margin")
