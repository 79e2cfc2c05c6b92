"""A job as Hydra runs it: its outcome is left in its folder, whatever happens.

Hydra's launchers run jobs in this or in other processes, and report failures in different
ways. So a job never raises: it leaves its outcome, and the table at the end reads those.
"""

import logging
import os
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from deprune.core.errors import RecordError
from deprune.core.files import require_writable
from deprune.core.interruption import Interrupted, handle_by, interruptible
from deprune.core.redaction import redact
from deprune.record.store import ResultStore
from deprune.run.cli import explain, wants_tracebacks
from deprune.run.config import RunConfig, parse
from deprune.run.identity import ResolvedRun, resolve
from deprune.run.outcome import Outcome, Stopwatch, leave, stopped_by, this_process
from deprune.run.session import Session
from deprune.run.workers import runs_in_this_process, take_share

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        job: Its overrides.
        folder: Its folder.
        log_file: Its log.
        in_grid: Whether there are other jobs.
        in_worker: Whether its process is another one than that of the command.
        n_workers: How many workers share the machine, where joblib runs them.
    """

    job: str
    folder: Path
    log_file: Path
    in_grid: bool
    in_worker: bool
    n_workers: int | None

    @property
    def sweep_folder(self) -> Path:
        """The folder of the whole command."""
        return self.folder.parent if self.in_grid else self.folder


def run_composed(cfg: DictConfig) -> None:
    """Runs the job of a composed configuration and leaves its outcome.

    Raises:
        Interrupted: The job was told to stop, and with it the command, whose process this is.
    """
    place = _place()
    if stopped_by(place.sweep_folder) is not None:
        return
    outcome = Outcome(job=place.job, status="running", process=this_process())
    try:
        with interruptible(signal.SIG_IGN if place.in_worker else signal.SIG_DFL):
            leave(place.folder, outcome)
            outcome = _attempt(cfg, place, process_session())
            leave(place.folder, outcome)
    except Interrupted as stop:
        if outcome.status == "running":
            leave(place.folder, Outcome(job=place.job, status="interrupted", signal=stop.signal))
        if not place.in_worker:
            raise
        handle_by(signal.SIG_IGN)  # both the terminal and the command may tell an idle worker once more


@cache
def process_session() -> Session:
    """Returns the session of this process: Hydra calls its workers anew for every job, and hands nothing on."""
    return Session()


def _place() -> Place:
    hydra = HydraConfig.get()
    folder, in_grid = Path(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN
    return Place(
        job=redact(" ".join(hydra.overrides.task)) or "the defaults",
        folder=folder,
        log_file=folder / f"{hydra.job.name}.log",
        in_grid=in_grid,
        in_worker=in_grid and not runs_in_this_process(hydra.launcher),
        n_workers=hydra.launcher.get("n_jobs"),
    )


def _attempt(cfg: DictConfig, place: Place, session: Session) -> Outcome:
    """Runs the job and returns its outcome, also where that is a failure."""
    config, run, watch = None, None, Stopwatch()
    try:
        config = parse(cfg)
        if place.in_worker and place.n_workers is not None and config.device in ("auto", "cuda"):
            take_share(place.n_workers)
        resolved = resolve(config, session.facts(config.model, config.results_dir))
        store = ResultStore(config.results_dir)
        there = not config.force and store.path(resolved.run_id).is_file()
        known = None if there or config.retry_failed or config.force else store.failure(resolved.run_id)
        if known:
            return Outcome(job=place.job, status="skipped", run_id=resolved.run_id, reason=known.reason)
        for scorer in () if there else config.eval.scorers.values():
            scorer.check(session.memory)
        run = resolved
        require_writable(config.results_dir)
        session.keep_facts(config.model, config.results_dir)
        if there:
            store.get(run.run_id)  # which is refused where it is damaged
            return Outcome(job=place.job, status="found", run_id=run.run_id)
        from deprune.run.job import Job  # with all libraries, which a record that is there does not need

        Job(config, run, session).do(place.sweep_folder.name, watch)
        return Outcome(job=place.job, status="done", run_id=run.run_id)
    except Exception as error:
        if wants_tracebacks():
            raise
        log.debug("%s", explain(error), exc_info=True)
        # The reasons of a grid's failures are often the same; each is said once, at the end.
        log.error("This job failed; the end says why." if place.in_grid else f"Error: {explain(error)}")
        if config is not None and run is not None:
            _record_failure(config, run, error, watch.current, place.log_file)
        return Outcome(job=place.job, status="failed", run_id=run.run_id if run else None, reason=explain(error))


def _record_failure(config: RunConfig, run: ResolvedRun, error: Exception, phase: str, log_file: Path) -> None:
    """Leaves the record of a failure; where that fails too, as on a full disk, the outcome must do."""
    from deprune.run.recording import make_failure

    log_name = os.path.relpath(log_file, config.results_dir)
    try:
        ResultStore(config.results_dir).put_failure(make_failure(config, run, error, phase, log_name))
    except RecordError as second:
        log.debug("%s", second)
