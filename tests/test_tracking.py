"""What W&B gets: from the real client, at a stand-in of its server, and in offline runs read back."""

import json
import logging
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from deprune.core.errors import ConfigError
from deprune.record.columns import columns_of
from deprune.record.schema import RunRecord
from deprune.record.store import read_record
from deprune.tracking import TrackingConfig, client, track
from deprune.tracking.job_run import CONFIG
from tests.conftest import PATIENCE, ROOT, Command, SilentServer, commands_here
from tests.wandb_server import SentRun, WandbServer

JOB = ["search=greedy", "budget=2", "calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "eval.corpora=[facts]"]
SECRETS = {"WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567", "HF_TOKEN": "hf_thisIsNoRealToken"}
ONLINE = TrackingConfig(backend="wandb", project="study", mode="online")

TWO_RUNS = """
import logging, os, sys
from pathlib import Path
from deprune.record.store import read_record
from deprune.tracking import TrackingConfig, client, track

logging.basicConfig(format="%(name)s %(message)s")
client.INIT_SECONDS = client.FINISH_SECONDS = 3.0
os.environ["WANDB_HTTP_TIMEOUT"] = "1"
path, folder = map(Path, sys.argv[1:])
for _ in range(2):
    track(TrackingConfig(backend="wandb", mode="online"), read_record(path), path, folder, "sweep")
"""
"""Two jobs with less patience than usual."""

Connect = Callable[..., WandbServer]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Starts a stand-in and logs this process in to it, with an empty home; its client forgets all at the end."""
    servers: list[WandbServer] = []
    (tmp_path / "home").mkdir(exist_ok=True)

    def start(**misbehaviour: str) -> WandbServer:
        servers.append(WandbServer(**misbehaviour).__enter__())
        monkeypatch.setenv("WANDB_BASE_URL", servers[0].url)
        return servers[0]

    for name, value in {"HOME": str(tmp_path / "home"), client.UNREACHABLE: "0", **SECRETS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb.teardown()
    yield start
    wandb.teardown()
    for server in servers:
        server.__exit__()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    """A record that a job left, and its path."""
    folder = tmp_path_factory.mktemp("made")
    with commands_here(folder) as run:
        assert run("sweep", *JOB, "tracking=none") == 0
    (path,) = folder.glob("results/runs/*/record.json")
    return path, read_record(path)


def table(run: SentRun, name: str) -> pd.DataFrame:
    content = json.loads(run.files[run.summary[name]["path"]])
    return pd.DataFrame(content["data"], columns=content["columns"])


def assert_discreet(server: WandbServer, *folders: Path) -> None:
    """Nothing that came tells a secret, or a place on this machine."""
    assert len(server.received) > 10
    private = [*SECRETS.values(), str(ROOT), sys.prefix, sys.executable, str(Path.home()), *map(str, folders)]
    for path, body in server.received:
        for text in private:
            assert text.encode() not in body, (path, text)


@pytest.mark.slow
def test_jobs_of_a_sweep_become_runs_for_dashboards(sweep: Command, tmp_path: Path) -> None:
    with WandbServer() as server:
        result = sweep("-m", *JOB, "search=greedy,oneshot", "tracking.project=study",
                       env={"WANDB_BASE_URL": server.url, **SECRETS})  # fmt: skip
    assert result.code == 0, result.err
    assert "wandb" not in (result.out + result.err).lower()
    assert_discreet(server, tmp_path)
    (sweep_folder,) = tmp_path.glob("results/sweeps/*")
    records = {
        record.factors.search: record for record in map(read_record, tmp_path.glob("results/runs/*/record.json"))
    }
    assert {run.config["search"] for run in server.runs.values()} == {"greedy", "oneshot"} == {*records}
    for run in server.runs.values():
        record = records[run.config["search"]]
        assert run.fields["project"] == "study"
        assert run.fields["displayName"] == f"tiny_llama · mixture n2 L32 · {record.factors.search} · k2"
        assert run.fields["groupName"] == sweep_folder.name
        assert run.fields["jobType"] == "prune"
        assert run.fields["tags"] == ["tiny_llama", "mixture", "nll", record.factors.search]
        assert run.config == {name: columns_of(record)[name] for name in CONFIG}
        assert not [value for value in run.config.values() if isinstance(value, dict | list)]
        assert run.exit_code == 0
        check_outcome(run, record)
        artifact = server.artifacts[f"record-{record.run_id}"]
        assert artifact.fields["artifactTypeName"] == "record"
        assert artifact.files["record.json"] == next(tmp_path.glob(f"results/runs/{record.run_id}/*")).read_bytes()


def check_outcome(run: SentRun, record: RunRecord) -> None:
    trace = [(row["evaluations"], row["best_loss"]) for row in run.history if "best_loss" in row]
    assert trace == [
        (p["evaluations"], p["loss"]) for p in record.removal.trace if p["n_removed"] == record.factors.budget
    ]
    metrics = run.metrics
    names = [metric["1"] for metric in metrics]
    best_loss = metrics[names.index("best_loss")]
    assert names[best_loss["5"] - 1] == "evaluations", "the x-axis of search traces"
    smallest, largest = [1], [2]  # in the client's encoding
    declared = {metric["1"]: metric["7"] for metric in metrics}
    assert declared["best_loss"] == declared["calib_value"] == declared["facts/log_perplexity"] == smallest
    assert declared["accuracy"] == declared["mini_one_hop/acc"] == declared["mini_two_hop/acc_norm"] == largest
    assert run.summary["accuracy"] == record.scores.accuracy
    assert run.summary["calib_value"] == record.removal.loss
    assert run.summary["removed"] == list(record.removal.order)
    assert run.summary["n_evals"] == record.cost.n_evals
    scores = table(run, "scores").set_index(["task", "metric"])
    for row in record.scores.metrics:
        assert run.summary[f"{row.task}/{row.metric}"] == row.value == scores.value[row.task, row.metric]
    mask = table(run, "mask")
    assert mask.block.tolist() == list(range(record.removal.n_blocks))
    assert mask.block[mask.removed].tolist() == sorted(record.removal.order)
    assert mask[mask.removed].sort_values("order").block.tolist() == list(record.removal.order)
    assert mask.order[~mask.removed].isna().all()


def test_a_dense_run_with_long_names_is_taken(made: tuple[Path, RunRecord], connect: Connect, tmp_path: Path) -> None:
    server, (path, record) = connect(), made
    long = replace(
        record,
        factors=replace(record.factors, model="m" * 200, budget=0, search="dense"),
        provenance=replace(record.provenance, warnings=("Calibration is in facts.",)),
    )
    track(ONLINE, long, path, tmp_path, "sweep")
    (run,) = server.runs.values()
    assert run.exit_code == 0
    assert run.fields["jobType"] == "dense"
    assert run.fields["tags"][0] == "m" * 64
    assert run.fields["notes"] == "Calibration is in facts."


@pytest.mark.slow
@pytest.mark.parametrize(
    "misbehaviour",
    [{"silent_from": "UpsertBucket"}, {"silent_from": "ArtifactType"}, {"dies_at": "CreateRunFiles"}],
    ids=lambda m: "-".join(*m.items()),
)
def test_a_server_that_fails_costs_seconds_once_and_loses_nothing(
    misbehaviour: dict[str, str], made: tuple[Path, RunRecord], connect: Connect, tmp_path: Path
) -> None:
    server, (path, record) = connect(**misbehaviour), made
    command = [sys.executable, "-c", TWO_RUNS, str(path), str(tmp_path)]
    # In a process of its own, as a client that waits for a dead server does not come back to its senses.
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("deprune")]
    assert len(lines) == 1, lines
    assert "W&B did not take a run" in lines[0]
    assert len(server.runs) <= 1, "asked the server again"
    kept = [summary_of(read_offline_run(folder)) for folder in tmp_path.glob("wandb/offline-run-*")]
    assert [summary["accuracy"] for summary in kept] == [record.scores.accuracy] * 2


@pytest.mark.slow
def test_a_job_ends_well_without_its_server(sweep: Command, tmp_path: Path, silent_server: SilentServer) -> None:
    """Left to itself, the client tries for a minute and a half, at each job anew."""
    result = sweep(*JOB, "eval=none", env={"WANDB_BASE_URL": silent_server.url, **SECRETS})
    assert 0 < silent_server.attempts <= 5
    assert result.code == 0, result.err
    assert result.err.count("W&B did not take a run") == 1
    assert "Traceback" not in result.err
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == 1
    assert len(list(tmp_path.glob("results/wandb/offline-run-*"))) == 1


def read_offline_run(folder: Path) -> list[Any]:
    """Returns the records of an offline run: a header, then LevelDB's log format."""
    (path,) = folder.glob("run-*.wandb")
    data, position, pending, records = path.read_bytes(), 7, b"", []
    while position < len(data):
        if 32768 - position % 32768 < 7:  # the rest of a block is padding
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(wandb_internal_pb2.Record.FromString(pending))
            pending = b""
    return records


def summary_of(sent: list[Any]) -> dict[str, Any]:
    updates = [r.summary.update for r in sent if r.WhichOneof("record_type") == "summary"]
    return {item.key: json.loads(item.value_json) for update in updates for item in update}


def test_offline_run_read_back_and_synced(made: tuple[Path, RunRecord], connect: Connect, tmp_path: Path) -> None:
    server, (path, record) = connect(), made
    track(replace(ONLINE, mode="offline"), record, path, tmp_path, "sweep")
    assert server.received == []
    wandb.teardown()  # the file is whole once the client's process has ended
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    sent = read_offline_run(folder)
    (run,) = [r.run for r in sent if r.WhichOneof("record_type") == "run"]
    assert run.display_name == "tiny_llama · mixture n2 L32 · greedy · k2"
    assert run.run_group == "sweep"
    assert {item.key for item in run.config.update} >= {*CONFIG}
    assert summary_of(sent)["accuracy"] == record.scores.accuracy
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(folder)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (synced,) = server.runs.values()
    assert synced.fields["groupName"] == "sweep"
    assert f"record-{record.run_id}" in server.artifacts
    check_outcome(synced, record)


@pytest.mark.slow
def test_no_tracking_writes_nothing(sweep_here: Command, tmp_path: Path) -> None:
    assert sweep_here(*JOB, "tracking=none", "eval=none").code == 0
    assert not (tmp_path / "results" / "wandb").exists()


@pytest.mark.slow
def test_failure_of_the_tracker_does_not_fail_the_job(
    sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no tracker today")

    monkeypatch.setattr(client, "_send", fail)
    with caplog.at_level(logging.WARNING):
        result = sweep_here(*JOB, "tracking=wandb", "eval=none")
    assert result.code == 0
    assert "no tracker today" in result.err + caplog.text
    assert len(list(tmp_path.rglob("record.json"))) == 1


def test_nobody_is_asked_to_log_in(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(client, "is_logged_in", lambda: False)
    assert client.choose_mode(None) == "offline"
    assert not caplog.records
    assert client.choose_mode("online") == "offline"
    assert "not logged in" in caplog.text
    assert client.choose_mode("offline") == "offline"
    monkeypatch.setattr(client, "is_logged_in", lambda: True)
    assert client.choose_mode(None) == "online"


@pytest.mark.parametrize("project", ["team/study", "", "a" * 129, "50%"])
def test_a_project_that_wandb_would_refuse_is_refused_at_once(project: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.entity"):
        TrackingConfig(project=project)


@pytest.mark.slow
def test_the_report_becomes_the_last_run_of_the_sweep(run_here: Command, connect: Connect, tmp_path: Path) -> None:
    server = connect()
    given = [
        "published=true",
        "response=accuracy",
        "where={model: llama3-8b}",
        "sweep=monday",
        "tracking=wandb",
        "tracking.project=study",
    ]
    result = run_here("analyze", *given, "results_dir=results")
    assert result.code == 0, result.err
    assert_discreet(server, tmp_path)
    (run,) = server.runs.values()
    assert run.fields["jobType"] == "analysis"
    assert run.fields["groupName"] == "monday"
    assert run.exit_code == 0
    page = (tmp_path / "report" / "report.html").read_bytes()
    assert run.files[run.summary["report"]["path"]] == page
    assert run.summary["report"]["_type"] == "html-file"
    ratio = pd.read_csv(tmp_path / "report" / "tables" / "variance_ratio.csv").iloc[0]
    assert run.summary["accuracy/verdict"] == ratio["verdict"]
    assert run.summary["accuracy/V_S"] > 0
    assert {run.summary[f"claim {number}"] for number in range(1, 5)} <= {"supported", "not supported", "undecided"}
    files = server.artifacts["report-monday"].files
    assert files["report.html"] == page
    assert {"tables/variance_ratio.csv", "tables/variance_ratio.tex"} <= {*files}


@pytest.mark.slow
def test_a_report_goes_nowhere_unless_told(run_here: Command, connect: Connect, tmp_path: Path) -> None:
    server = connect()
    assert run_here("analyze", "published=true", "response=accuracy", "where={model: llama3-8b}").code == 0
    assert server.received == []
    assert not (tmp_path / "results").exists()


def test_the_dashboard_is_a_saved_view(run_here: Command, connect: Connect) -> None:
    pytest.importorskip("wandb_workspaces")
    server = connect()
    result = run_here("dashboard", "tracking.project=study", "tracking.entity=team")
    assert result.code == 0, result.err
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("team", "study", "project-view")
    assert view["name"].removeprefix("nw-").removesuffix("-v") in result.out
    sections = {s["name"]: s["panels"] for s in json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]}
    (traces,) = sections["Search traces"]
    assert (traces["config"]["xAxis"], traces["config"]["metrics"]) == ("evaluations", ["best_loss"])
    assert traces["config"]["groupBy"] == "search.value"
    scatter = sections["Overview"][0]["config"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:calib_value", "summary:accuracy")
    columns = [column["accessor"] for column in sections["Factors"][0]["config"]["columns"]]
    assert columns[-1] == "summary:accuracy"
    named = {c.removeprefix("config:").removesuffix(".value") for c in columns[:-1]}
    assert named <= {*CONFIG}, "every axis is a factor of the runs"
    assert {panel["config"]["groupBy"] for panel in sections["Scores by calibration"]} == {"calib_config.value"}


def test_a_dashboard_that_cannot_be_is_a_sentence(
    run_here: Command, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = connect()
    monkeypatch.setattr(server, "_upsert_view", lambda _: {"upsertView": None})
    refused = run_here("dashboard", "tracking.project=study", "tracking.entity=team")
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    stranger = run_here("dashboard", "tracking.project=study")
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    bare = run_here("dashboard", "tracking.project=study")
    for result, sentence in (
        (refused, "W&B did not save the dashboard in the project 'study'"),
        (stranger, "You are not logged in to W&B"),
        (bare, "pip install 'deprune[dashboards]'"),
    ):
        assert result.code == 1
        assert sentence in result.err
        assert "Traceback" not in result.err
