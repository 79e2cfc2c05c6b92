"""The sweeper composes few of a grid's jobs before it starts, and still finds those that cannot be composed."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode

from deprune.core.build import CONF_DIR


class CountingLoader:
    """Hydra's own loader, with a count of the jobs that it composed."""

    def __init__(self) -> None:
        self.loader, self.composed = GlobalHydra.instance().config_loader(), 0

    def load_sweep_config(self, **arguments: Any) -> Any:
        self.composed += 1
        return self.loader.load_sweep_config(**arguments)


def validate(*command: str) -> tuple[int, int]:
    """Returns the numbers of jobs of a grid and of those that were composed."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        counting = CountingLoader()
        sweeper: Any = Plugins.instance().instantiate_sweeper(
            hydra_context=HydraContext(config_loader=counting, callbacks=Callbacks()),
            task_function=lambda _: None,
            config=counting.loader.load_configuration("config", [], RunMode.MULTIRUN),
        )
        (jobs,) = sweeper.split_arguments(OverridesParser.create().parse_overrides(list(command)), None)
        sweeper.validate_batch_is_legal(jobs)
        return len(jobs), counting.composed


def test_one_job_of_every_combination_of_groups_is_composed() -> None:
    values = ["calib.seed=0,1,2", "calib.n_samples=2,4", "budget=1,2"]
    assert validate("calib=facts,narratives", "search=greedy,oneshot,beam", *values) == (72, 6)


@pytest.mark.parametrize(
    "command",
    [
        ["search=beam,greedy", "search.width=1,2"],
        ["model=tiny_llama,absent", "budget=1,2"],
        ["budget=1,2", "calib.absent=1,2"],
        ["budget=1,2", "absent=3"],
    ],
)
def test_a_job_that_cannot_be_composed_is_found(command: list[str]) -> None:
    with pytest.raises(ConfigCompositionException):
        validate(*command)
