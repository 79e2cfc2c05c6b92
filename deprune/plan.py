"""The command that says what a sweep will do and cost, without running a model.

python -m deprune.plan -m <the overrides of a sweep>
"""

import hydra
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.run.cli import plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="plan")
def compose_and_plan(cfg: DictConfig) -> None:
    """Is never reached: `deprune.planning.command.Plan` ends the command before a job would start."""


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_plan()


if __name__ == "__main__":
    main()
