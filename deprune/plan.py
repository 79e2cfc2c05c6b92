"""The command that says what a sweep will do and cost, without running a model.

python -m deprune.plan -m <the overrides of a sweep>
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import hydra
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from deprune.core.build import CONF_DIR, build
from deprune.planning.counting import Work
from deprune.planning.forecast import Forecast, Forecaster, adapted_to_gpu
from deprune.planning.hardware import START_SECONDS, Hardware, Rates
from deprune.planning.jobs import jobs_of
from deprune.run.cli import plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="plan")
def plan(command: DictConfig) -> None:
    """Prints what the jobs of a command will take; exits with 1 if some cannot be."""
    console = Console(soft_wrap=True, highlight=False)
    console.print("Composing the jobs and rehearsing their searches; thousands take a minute.")
    jobs = jobs_of(command, "plan")
    rates: Rates = _this_machine() if command.calibrate else build(command.hardware, Hardware, "hardware")
    forecast = Forecaster(rates, (lambda job: job) if command.calibrate else adapted_to_gpu).add_all(jobs)
    _print(console, forecast, rates)
    if forecast.faults:
        sys.exit(1)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        plan()


def _this_machine() -> Rates:
    import torch

    from deprune.evaluator.memory import free_memory
    from deprune.model.source import resolve_device
    from deprune.planning.timing import ThisMachine

    return ThisMachine(free_memory(torch.device(resolve_device("auto"))))


def _print(console: Console, forecast: Forecast, rates: Rates) -> None:
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


if __name__ == "__main__":
    main()
