"""A job as Hydra runs it: its outcome is left in its folder, whatever happens.

Hydra's launchers run jobs in this or in other processes, and report failures in different
ways. So a job never raises: it writes `outcome.json`, and the table at the end reads those.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from deprune.cli import explain, wants_tracebacks
from deprune.config import parse
from deprune.files import write_atomically
from deprune.job import run_job

log = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The overrides that make this job, as on the command line.
        status: `done`, `found` where the record was there before, or `failed`.
        run_id: The run, where it got that far.
        reason: Why it failed, in one sentence.
    """

    job: str
    status: str
    run_id: str | None = None
    reason: str | None = None


def run_composed(cfg: DictConfig) -> None:
    """Runs the job of a composed configuration and leaves its outcome."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    job = " ".join(hydra.overrides.task) or "the defaults"
    in_grid = hydra.mode == RunMode.MULTIRUN
    sweep = folder.parent.name if in_grid else folder.name
    try:
        result = run_job(parse(cfg), sweep)
        status = "found" if result.remembered else "done"
        outcome = Outcome(job=job, status=status, run_id=result.record.run_id)
    except Exception as error:
        if wants_tracebacks():
            raise
        outcome = Outcome(job=job, status="failed", reason=explain(error))
        log.debug("%s", outcome.reason, exc_info=True)
        # The reasons of a grid's failures are often the same; each is said once, at the end.
        log.error("This job failed; the end says why." if in_grid else f"Error: {outcome.reason}")
    write_atomically(folder / OUTCOME_FILE, json.dumps(asdict(outcome), indent=1))


def read_outcomes(folder: Path) -> list[Outcome]:
    """Returns the outcomes of the jobs below a sweep's folder, in the order of the jobs."""
    paths = sorted(folder.rglob(OUTCOME_FILE), key=lambda p: (len(p.parent.name), p.parent.name))
    return [Outcome(**json.loads(path.read_text())) for path in paths]
