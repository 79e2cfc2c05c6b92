"""What the documentation says is there is there, its commands run, and its messages are real."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.planning.jobs import PlannedJob, jobs_of
from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
PAGES = {
    path.relative_to(ROOT): path.read_text()
    for folder in ("deprune", "experiments")
    for path in (ROOT / "README.md", *sorted((ROOT / folder).rglob("README.md")))
}
ELSEWHERE = "<folder>"
"""Commands with a folder of the reader's own are run by the tests of what they are about."""

SMALL = {
    "model": "tiny_llama", "calib": "facts", "calib.n_samples": "4", "calib.seq_len": "32",
    "search": "oneshot,greedy", "budget": "2", "eval": "none", "tracking": "none",
}  # fmt: skip
"""What makes a documented sweep small, where it does not say otherwise."""


@dataclass(frozen=True)
class Documented:
    """A command line of the documentation; those that need a GPU say so."""

    command: str
    arguments: tuple[str, ...]
    gpu: bool

    @property
    def overrides(self) -> list[str]:
        return [argument for argument in self.arguments if argument != "-m"]

    @property
    def needs_hub(self) -> bool:
        configs = [job.config for job in jobs(self) if job.config is not None]
        return any(config.model.on_hub or config.calib.corpus.data_sets() for config in configs)


def documented() -> list[Documented]:
    found = dict[Documented, None]()
    for text in PAGES.values():
        for command, rest in re.findall(r"python -m deprune\.(\w+)((?: [^|`\n]+)?)", text):
            words = re.sub(r"<(?!folder>)[^>]*>", "x", rest).rstrip('"')
            gpu = words.endswith("# GPU")
            arguments = tuple(shlex.split(words.removesuffix("# GPU")))
            if ELSEWHERE not in rest and arguments not in {("-m", "x"), ("--help",)}:
                found[Documented(command, arguments, gpu)] = None
    return list(found)


def jobs(documented: Documented) -> tuple[PlannedJob, ...]:
    """The jobs of a sweep; of one with thousands, those of one model and corpus."""
    fewer = ["model=tiny_llama", "calib=facts"] if "+experiment=mini" in documented.overrides else []
    elsewhere = ("hydra", "results_dir=")  # where jobs run and leave their records changes no job
    return jobs_of_grid(*(o for o in documented.overrides if not o.startswith(elsewhere)), *fewer)


@functools.cache
def jobs_of_grid(*overrides: str) -> tuple[PlannedJob, ...]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        command = compose("plan", return_hydra_config=True)
        command.hydra.overrides.task = list(overrides)
        experiment = [o for o in overrides if o.startswith("+experiment")]
        if experiment:
            command.hydra.sweeper = compose("plan", experiment, return_hydra_config=True).hydra.sweeper
        with pytest.MonkeyPatch.context() as patch:  # most of the pages' sweeps have most of their parts in common
            patch.setattr("deprune.planning.jobs.compose", lambda name, overrides: composed(name, *overrides))
            return tuple(jobs_of(command))


@functools.cache
def composed(name: str, *overrides: str) -> DictConfig:
    return compose(name, list(overrides))


def slow_if_large(documented: Documented) -> object:
    """A grid of an experiment has dozens of levels to compose, each in a tenth of a second."""
    large = "+experiment" in str(documented.arguments)
    return pytest.param(documented, marks=pytest.mark.slow if large else ())


SWEEPS = [d for d in documented() if d.command in ("sweep", "plan", "prefetch")]


def test_there_are_commands() -> None:
    assert ("-m", "calib=c4,wikitext", "search=greedy,oneshot") in {d.arguments for d in SWEEPS}
    assert len(SWEEPS) >= 15
    assert {d.command for d in documented()} >= {"sweep", "plan", "prefetch", "analyze", "gaps", "archive"}


@pytest.mark.parametrize("sweep", [*map(slow_if_large, SWEEPS)], ids=lambda d: " ".join((d.command, *d.arguments)))
def test_every_job_of_a_documented_sweep_can_be(sweep: Documented) -> None:
    found = jobs(sweep)
    assert found
    assert not [job.fault for job in found if job.fault]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        compose("config", [o for o in sweep.overrides if o.startswith("hydra")], return_hydra_config=True)


@pytest.mark.slow
def test_documented_commands_run(run_here: Command, tmp_path: Path) -> None:
    """All that need neither GPU nor Hub, in one folder, sweeps first, at a small size."""
    (tmp_path / "stories.txt").write_text("Once upon a time there was a fox. " * 200)
    commands = sorted(documented(), key=lambda d: {"sweep": 0, "plan": 1}.get(d.command, 2))
    run = 0
    for each in commands:
        elsewhere = "submitit" in str(each) or each.command == "dashboard" or "tracking=wandb" in each.arguments
        if elsewhere or each.gpu or (each in SWEEPS and each.needs_hub and each.command != "plan"):
            continue  # those elsewhere are run by test_launchers.py, and by test_tracking.py with a server
        arguments = list(each.arguments)
        if each.command == "sweep":
            # Grids of the page are kept as far as they are small; the launchers' own tests run them all.
            given = {a.partition("=")[0] for a in arguments} | ({"calib"} if "calib=local" in arguments else set())
            values = SMALL if "-m" in arguments else {k: v.partition(",")[0] for k, v in SMALL.items()}
            large = ("hydra", "results_dir", "calib.n_samples", "calib.seq_len")
            arguments = [a for a in arguments if not a.startswith(large)]
            arguments += [f"{k}={v}" for k, v in values.items() if k not in given or k in large]
            if any(a.startswith("+experiment") for a in arguments):
                arguments.append("results_dir=studies")  # which are scored on other items than the page's other sweeps
        if each.command == "export":
            (record, *_) = sorted(tmp_path.glob("results/runs/*/record.json"))
            arguments = [f"run={record.parent.name}", "out=checkpoint"]
        result = run_here(each.command, *arguments)
        assert result.code == 0, (each, result.err, result.out[-500:])
        run += 1
    assert run >= 10


def test_troubleshooting_quotes_real_messages() -> None:
    source = "".join(path.read_text() for path in (ROOT / "deprune").rglob("*.py"))
    said = re.sub(r"\{[^{}]*\}", "…", re.sub(r"[\"']\s*\n\s*f?[\"']", "", source))
    text = PAGES[Path("experiments/README.md")].split("## Troubleshooting")[1]
    messages = re.findall(r"^\| `(.+?)` \|", text, flags=re.MULTILINE)
    assert len(messages) >= 10
    for message in messages:
        longest = max(re.split(r"…|https\S+", message), key=len).strip(" ;,.:")
        assert longest in said, message


def test_make_targets_exist() -> None:
    targets = re.findall(r"^    make (\S+)", README, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_links_and_paths_exist() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / page.parent / link).exists(), (page, link)
    tree = README.split("## Where things are")[1]
    for path in re.findall(r"^ {4}(\S+/)  ", tree, flags=re.MULTILINE):
        assert (ROOT / path).is_dir(), path


@pytest.mark.slow
def test_notebook_reads_records(sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["calib.n_samples=2", "calib.seq_len=32", "eval.limit=5", "tracking=none", "search=oneshot"]
    assert sweep_here("-m", "budget=1,2", *small).code == 0
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    notebook = json.loads((ROOT / "notebooks" / "read_records.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["runs"]) == 2  # type: ignore[arg-type]
    assert set(names["scores"].task) >= {"mini_one_hop", "mini_two_hop"}  # type: ignore[attr-defined]
