"""A grid of jobs from outside: the order in which they run, and how all of them are told to stop."""

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from deprune.core.interruption import handle_by
from deprune.run.outcome import read_outcomes, running_here, stop
from deprune.run.workers import runs_in_this_process, start_ray

log = logging.getLogger(__name__)


class Grid(Callback):
    """Orders the jobs before they start, and stops them all at a signal."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Puts the axes in order; where jobs run in other processes, makes the first signal reach them."""
        log.info("Composing the jobs.")
        overrides = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        with flag_override(config.hydra, ["readonly", "struct"], [False, False]):
            config.hydra.overrides.task = in_grid_order(cast(list[str], overrides))
        if not runs_in_this_process(config.hydra.launcher):
            start_ray(config)
            tell_jobs_at_signals(Path(config.hydra.sweep.dir))


def in_grid_order(overrides: Sequence[str]) -> list[str]:
    """Returns overrides so that jobs of one model, then of one calibration, run one after the other.

    The last axis of a grid changes fastest, and a process keeps the model of its last job.
    """

    def rank(override: str) -> int:
        group = override.lstrip("+~").partition("=")[0].partition(".")[0]
        return {"model": 0, "calib": 1}.get(group, 2)

    return sorted(overrides, key=rank)


def tell_jobs_at_signals(sweep_folder: Path) -> None:
    """Makes the first signal end the running jobs of this machine and keep others from starting.

    The launcher then comes to its end by itself; a second signal ends this process at once.
    """

    def tell(number: int, _: FrameType | None) -> None:
        handle_by(signal.SIG_DFL)
        stop(sweep_folder, number)
        for pid in running_here(read_outcomes(sweep_folder)):
            os.kill(pid, signal.SIGTERM)
        log.warning("Stopping: running jobs finish their current write, and no other starts; again to leave at once.")

    handle_by(tell)
