"""The table on the terminal after a sweep."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from deprune.launch import Outcome, read_outcomes
from deprune.record import ResultStore, RunRecord


class SummaryTable(Callback):
    """Prints what the jobs of a command gave, and exits with 1 if any of them failed."""

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        """Prints the table of a single job."""
        _conclude(Path(config.hydra.run.dir), Path(config.results_dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Prints the table of a grid."""
        _conclude(Path(config.hydra.sweep.dir), Path(config.results_dir))


def _conclude(sweep_folder: Path, results_dir: Path) -> None:
    outcomes = read_outcomes(sweep_folder)
    if [o.status for o in outcomes] == ["failed"]:
        raise SystemExit(1)  # a single job has said why
    store, console = ResultStore(results_dir), Console()
    run_ids = dict.fromkeys(o.run_id for o in outcomes if o.run_id is not None)
    records = [r for r in map(store.get, run_ids) if r is not None]
    if records:
        console.print(summary_table(records))
    _print_counts(console, outcomes, results_dir)
    if any(o.status == "failed" for o in outcomes):
        # Hydra swallows exceptions of callbacks, but not this.
        raise SystemExit(1)


def _print_counts(console: Console, outcomes: list[Outcome], results_dir: Path) -> None:
    failed = [o for o in outcomes if o.status == "failed"]
    n_found = sum(o.status == "found" for o in outcomes)
    n_done = sum(o.status == "done" for o in outcomes)
    if n_found == len(outcomes):
        console.print(f"Nothing left to do: all {n_found} jobs have their records (force=true recomputes).")
    else:
        console.print(f"Jobs: {n_done} done, {n_found} found done before, {len(failed)} failed.")
    for reason in dict.fromkeys(o.reason for o in failed):
        jobs = [o.job for o in failed if o.reason == reason]
        text = "\n    ".join([f"Error in {len(jobs)} of {len(outcomes)} jobs: {reason}", *jobs])
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Results: {results_dir}", markup=False, highlight=False, soft_wrap=True)


def summary_table(records: list[RunRecord]) -> Table:
    """Returns one row per record."""
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for heading in ("model", "calib.", "n×L", "search"):
        table.add_column(heading, overflow="fold")
    table.add_column("budget", justify="right")
    table.add_column("removed", overflow="fold")
    table.add_column("objective")
    table.add_column("acc. %", justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            record.model,
            record.calib_dataset,
            f"{record.calib_samples}×{record.calib_seq_len}",
            record.search,
            str(record.budget),
            " ".join(map(str, record.removed)),
            _objective(record),
            "–"
            if record.accuracy is None or record.accuracy_dense is None
            else f"{100 * record.accuracy_dense:.1f}→{100 * record.accuracy:.1f}",
        )
    return table


def _objective(record: RunRecord) -> str:
    """Returns the objective's values, dense and pruned; that of nll as the perplexity that it stands for."""
    values = (record.calib_value_dense, record.calib_value)
    if record.objective != "nll":
        return f"{record.objective.removeprefix('task_')} " + "→".join(f"{value:.2f}" for value in values)
    return "ppl " + "→".join(_perplexity(value) for value in values)


def _perplexity(loss: float) -> str:
    perplexity = math.exp(min(loss, 700))
    return f"{perplexity:.2f}" if perplexity < 10_000 else f"{perplexity:.1e}"
