"""The commands that expand a sweep without running it; Hydra calls them before it would start the jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from deprune.core.build import build
from deprune.core.errors import ConfigError
from deprune.planning.forecast import Forecast, Forecaster, adapted_to_gpu
from deprune.planning.hardware import START_SECONDS, Hardware, Rates
from deprune.planning.jobs import jobs_of
from deprune.planning.needs import Need, needs_of
from deprune.planning.rehearsal import Work
from deprune.planning.timing import ThisMachine
from deprune.run.cli import plain_errors
from deprune.run.config import RunConfig


class Plan(Callback):
    """Prints what the jobs of a command will take, and ends the command."""

    def on_multirun_start(self, config: DictConfig, config_name: str | None = None, **_: Any) -> None:
        """Prints the plan."""
        console = Console(soft_wrap=True, highlight=False)
        console.print("Composing the jobs and rehearsing their searches; thousands take a minute.")
        with plain_errors():
            jobs = jobs_of(config, str(config_name))
            hardware = build(config.hardware, Hardware, "hardware")
            rates: Rates = _this_machine() if config.calibrate else hardware
            forecaster = Forecaster(rates, (lambda job: job) if config.calibrate else adapted_to_gpu)
            forecast = forecaster.add_all(jobs)
            print_forecast(console, forecast, rates)
        raise SystemExit(1 if forecast.faults else 0)


class Prefetch(Callback):
    """Downloads what the jobs of a command need, and ends the command."""

    def on_multirun_start(self, config: DictConfig, config_name: str | None = None, **_: Any) -> None:
        """Says how much it is, downloads it, and says what to set."""
        console = Console(soft_wrap=True, highlight=False)
        with plain_errors():
            jobs = jobs_of(config, str(config_name))
            if faults := dict.fromkeys(job.fault for job in jobs if job.fault is not None):
                raise ConfigError(next(iter(faults)))
            configs = [job.config for job in jobs if job.config is not None]
            needs = needs_of(configs)
            for line in _about_needs(needs):
                console.print(line, markup=False)
            for number, need in enumerate(needs, 1):
                need.fetch()
                console.print(f"[{number}/{len(needs)}] {need.name} is here.", markup=False)
            for line in _environment(configs):
                console.print(line, markup=False)
        raise SystemExit(0)


def _about_needs(needs: Sequence[Need]) -> Iterable[str]:
    for need in needs:
        yield f"{need.name}: {len(need.files)} files, {size(need.size)}"
    total, here = (sum(getattr(need, name) for need in needs) for name in ("size", "size_here"))
    yield f"To fetch: {size(total - here)}; {size(here)} of {size(total)} are here already."


def _environment(configs: Sequence[RunConfig]) -> Iterable[str]:
    from huggingface_hub import constants

    yield "Everything is here. On machines without a network that see the same folder, set"
    yield f"    export HF_HOME={constants.HF_HOME}"
    for variable in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        if variable in os.environ:
            yield f"    export {variable}={os.environ[variable]}"
    yield "    export HF_HUB_OFFLINE=1"
    if any(config.tracking.backend == "wandb" for config in configs):
        yield "    export WANDB_MODE=offline"


def size(n_bytes: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def _this_machine() -> ThisMachine:
    import torch

    from deprune.evaluator.memory import free_memory
    from deprune.model.source import resolve_device

    return ThisMachine(free_memory(torch.device(resolve_device("auto"))))


def print_forecast(console: Console, forecast: Forecast, rates: Rates) -> None:
    """Prints a forecast."""
    for line in _about_jobs(forecast):
        console.print(line, markup=False)
    if not forecast.jobs:
        return
    console.print(_by_search(forecast))
    for line in (*_about_cost(forecast, rates), *forecast.notes):
        console.print(line, markup=False)


def _about_jobs(forecast: Forecast) -> Iterable[str]:
    n_faulty, n_to_run = sum(map(len, forecast.faults.values())), sum(forecast.jobs.values())
    repeated = f", {forecast.n_repeated} the same as others" if forecast.n_repeated else ""
    done = f"{forecast.n_done} done already{repeated}"
    yield f"Jobs: {forecast.n_jobs}; {done}, {n_faulty} that cannot be, {n_to_run} to run."
    for reason, jobs in forecast.faults.items():
        yield "\n    ".join([f"Error in {len(jobs)} of {forecast.n_jobs} jobs: {reason}", *jobs])
    for name, of in forecast.models.items():
        yield (
            f"{name}: {of.facts.n_blocks} blocks of width {of.width}, {of.parameters / 1e6:,.0f} million parameters "
            f"(from {of.source})."
        )
    if forecast.undated:
        names = ", ".join(sorted(forecast.undated))
        yield f"The newest commit of {names} is not known here, so none of its jobs can count as done."


def _by_search(forecast: Forecast) -> Table:
    table = Table("search", box=box.SIMPLE_HEAD, padding=0)
    for heading in ("jobs", "evaluations", "remembered", "block calls", "without sharing", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for search, work in forecast.work.items():
        table.add_row(search, *_cells(forecast.jobs[search], work), duration(forecast.searching[search]))
    total = Work()
    for work in forecast.work.values():
        total.add(work)
    n_jobs, seconds = sum(forecast.jobs.values()), sum(forecast.searching.values())
    table.add_row("all", *_cells(n_jobs, total), duration(seconds))
    return table


def _cells(n_jobs: int, work: Work) -> list[str]:
    numbers = (n_jobs, work.computed, work.requested - work.computed, work.block_calls, work.block_calls_alone)
    return [f"{number:,}" for number in numbers]


def _about_cost(forecast: Forecast, rates: Rates) -> Iterable[str]:
    memory, model = forecast.memory
    fits = "" if memory <= rates.memory else f", more than the {rates.memory / 1e9:.0f} GB of {rates.title}"
    yield f"Memory: {memory / 1e9:.1f} GB for {model}{fits}."
    yield f"Pruned and dense models to score: {forecast.n_scored:,}."
    phases = ", ".join(f"{phase} {duration(s)}" for phase, s in forecast.seconds.items() if s >= 0.05)
    seconds = forecast.total_seconds + START_SECONDS
    cost = f", {seconds / 3600 * rates.price:,.2f} USD at {rates.price:.2f} an hour" if rates.price else ""
    yield f"On {rates.title}, one job after the other: {duration(seconds)}{cost} ({phases})."


def duration(seconds: float) -> str:
    """Returns a time in the unit that suits it."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"
