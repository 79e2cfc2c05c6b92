"""The command that downloads what a sweep needs, for machines without a network.

python -m deprune.prefetch -m <the overrides of a sweep>
"""

import hydra
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.run.cli import plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="prefetch")
def compose_and_prefetch(cfg: DictConfig) -> None:
    """Is never reached: `deprune.planning.command.Prefetch` ends the command before a job would start."""


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_prefetch()


if __name__ == "__main__":
    main()
