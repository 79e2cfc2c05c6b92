"""How Hydra goes about a grid of jobs. It finds plug-ins in packages of this name alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, without its wait before the first job.

    Tries whether jobs can be composed on one of every combination of group options.

    Jobs that differ in plain values compose alike, and each takes a tenth of a second.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raises Hydra's error if any of the jobs cannot be composed."""
        config = self.config
        assert config is not None

        def sets_a_value(override: str) -> bool:
            key = override.partition("=")[0]
            return "." in key or (key in config and not isinstance(config[key], DictConfig))

        unlike = {tuple(text for text in job if not sets_a_value(text)): job for job in batch}
        super().validate_batch_is_legal([*unlike.values()])


class WholeSweeper(BasicSweeper):
    """Hands the configuration of the whole command to its function, which looks at the jobs and runs none."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Remembers the function and the configuration; no launcher is needed."""
        self._function, self._command = task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Calls the function once."""
        return self._function(self._command)
