"""The table on the terminal after a sweep."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from deprune.core.interruption import Interrupted
from deprune.core.suggestions import override
from deprune.record.schema import UNTREATED, RunRecord
from deprune.record.store import ResultStore
from deprune.run.cli import say
from deprune.run.outcome import Outcome, read_outcomes, stopped_by

MAX_ROWS = 100
"""Runs that a person reads in a terminal."""


class SummaryTable(Callback):
    """Prints what the jobs of a command gave, and exits with 1 if any of them failed or was interrupted."""

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        """Prints the table of a single job."""
        _conclude(Path(config.hydra.run.dir), Path(config.results_dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Prints the table of a grid."""
        _conclude(Path(config.hydra.sweep.dir), Path(config.results_dir))


def _conclude(sweep_folder: Path, results_dir: Path) -> None:
    outcomes = read_outcomes(sweep_folder)
    statuses = [o.status for o in outcomes]
    if statuses in ([], ["running"]):
        return  # an exception is on its way
    if statuses == ["failed"]:
        raise SystemExit(1)  # a single job has said why
    store = ResultStore(results_dir)
    run_ids = dict.fromkeys(o.run_id for o in outcomes if o.run_id is not None and o.status in ("done", "found"))
    records = [r for r in map(store.get, run_ids) if r is not None]
    if len(records) > MAX_ROWS:
        where = override("results_dir", str(results_dir))
        say(f"{len(records):,} runs are too many for a table; python -m deprune.analyze {where}")
    elif records:
        Console().print(summary_table(records))
    _print_counts(outcomes, results_dir)
    # Hydra swallows exceptions of callbacks, but not these.
    signals = [stopped_by(sweep_folder), *(o.signal for o in outcomes)]
    if stopped := [number for number in signals if number is not None]:
        raise Interrupted(stopped[0])
    if set(statuses) - {"done", "found"}:
        raise SystemExit(1)


def _print_counts(outcomes: list[Outcome], results_dir: Path) -> None:
    counts = Counter(o.status for o in outcomes)
    rare = {"skipped": "left out", "interrupted": "interrupted", "running": "killed"}
    if counts["found"] == len(outcomes):
        text = f"Nothing left to do: all {len(outcomes):,} jobs have their records (force=true recomputes)."
    else:
        text = f"Jobs: {counts['done']} done, {counts['found']} found done before, {counts['failed']} failed"
        text += "".join(f", {counts[status]} {word}" for status, word in rare.items() if counts[status]) + "."
    lines = [text, *_reasons(outcomes, "failed", "Error in {} of {} jobs: {}")]
    lines += _reasons(outcomes, "skipped", "Left out {} of {} jobs, which failed before (retry_failed=false): {}")
    say(*lines, f"Results: {results_dir}")


def _reasons(outcomes: list[Outcome], status: str, heading: str) -> list[str]:
    """Returns each reason once, with the jobs that it stopped."""
    concerned = [o for o in outcomes if o.status == status]
    jobs = {reason: [o.job for o in concerned if o.reason == reason] for reason in {o.reason: 0 for o in concerned}}
    return ["\n    ".join([heading.format(len(j), len(outcomes), reason), *j]) for reason, j in jobs.items()]


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
        of, scores = record.factors, record.scores
        table.add_row(
            of.model,
            of.calib_dataset,
            f"{of.calib_samples}×{of.calib_seq_len}",
            of.search if of.treatment == UNTREATED else f"{of.search}, {of.treatment}",
            str(of.budget),
            " ".join(map(str, record.removal.order)),
            _objective(record),
            "–"
            if scores.accuracy is None or scores.dense_accuracy is None
            else f"{100 * scores.dense_accuracy:.1f}→{100 * scores.accuracy:.1f}",
        )
    return table


def _objective(record: RunRecord) -> str:
    """Returns the objective's values, dense and pruned; that of nll as the perplexity that it stands for."""
    values, objective = (record.removal.dense_loss, record.removal.loss), record.factors.objective
    if objective != "nll":
        return f"{objective.removeprefix('task_')} " + "→".join(f"{value:.2f}" for value in values)
    return "ppl " + "→".join(_perplexity(value) for value in values)


def _perplexity(loss: float) -> str:
    perplexity = math.exp(min(loss, 700))
    return f"{perplexity:.2f}" if perplexity < 10_000 else f"{perplexity:.1e}"
