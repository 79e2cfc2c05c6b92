"""The command that says what a sweep will do and cost, without running a model.

python -m deprune.plan -m <the overrides of a sweep>
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from deprune.core.build import build
from deprune.planning.jobs import jobs_of
from deprune.run.cli import command, say

if TYPE_CHECKING:
    from deprune.planning.forecast import Forecast
    from deprune.planning.hardware import Hardware
    from deprune.planning.timing import ThisMachine


@command("plan")
def main(cfg: DictConfig) -> None:
    """Prints what the jobs of a command will take; exits with 1 if some cannot be."""
    from deprune.planning.forecast import Forecast

    say("Composing the jobs and rehearsing their searches; thousands take a minute.")
    jobs = jobs_of(cfg)
    forecast = Forecast(_rates(cfg), jobs)
    say(*_about_jobs(forecast))
    if forecast.work:
        Console(soft_wrap=True, highlight=False, markup=False).print(_by_search(forecast))
        say(*_about_cost(forecast), *forecast.notes)
    if forecast.faults:
        sys.exit(1)


def _rates(cfg: DictConfig) -> Hardware | ThisMachine:
    from deprune.planning.hardware import Hardware

    if not cfg.calibrate:
        return build(cfg.hardware, Hardware, "hardware")
    from deprune.planning.timing import ThisMachine

    return ThisMachine()


def _about_jobs(forecast: Forecast) -> Iterable[str]:
    n_faulty, n_to_run = sum(map(len, forecast.faults.values())), sum(work.jobs for work in forecast.work.values())
    repeated = f", {forecast.n_repeated} the same as others" if forecast.n_repeated else ""
    done = f"{forecast.n_done} done already{repeated}"
    yield f"Jobs: {forecast.n_jobs}; {done}, {n_faulty} that cannot be, {n_to_run} to run."
    for reason, jobs in forecast.faults.items():
        yield "\n    ".join([f"Error in {len(jobs)} of {forecast.n_jobs} jobs: {reason}", *jobs])
    for name, of in forecast.models.items():
        size = f"{of.facts.n_blocks} blocks of width {of.width}, {of.parameters / 1e6:,.0f} million parameters"
        yield f"{name}: {size} (from {of.source})."
    if undated := sorted(name for name, of in forecast.models.items() if not of.facts.revision):
        yield f"The newest commit of {', '.join(undated)} is not known here, so none of its jobs can count as done."


def _by_search(forecast: Forecast) -> Table:
    from deprune.planning.counting import Work

    table = Table("search", box=box.SIMPLE_HEAD, padding=0)
    for heading in ("jobs", "evaluations", "remembered", "block calls", "without sharing", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for search, of in {**forecast.work, "all": sum(forecast.work.values(), Work())}.items():
        numbers = (of.jobs, of.computed, of.requested - of.computed, of.block_calls, of.block_calls_alone)
        table.add_row(search, *(f"{number:,}" for number in numbers), duration(of.seconds))
    return table


def _about_cost(forecast: Forecast) -> Iterable[str]:
    rates, (memory, model) = forecast.rates, forecast.memory
    fits = "" if memory <= rates.memory else f", more than the {rates.memory / 1e9:.0f} GB of {rates.title}"
    yield f"Memory: {memory / 1e9:.1f} GB for {model}{fits}."
    yield f"Pruned and dense models to score: {forecast.n_scored:,}."
    phases = ", ".join(f"{phase} {duration(s)}" for phase, s in forecast.seconds.items() if s >= 0.05)
    seconds = forecast.total_seconds
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
