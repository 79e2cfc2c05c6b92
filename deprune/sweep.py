"""The command that runs one job, or with -m a grid of jobs.

python -m deprune.sweep -m calib=c4,wikitext search=greedy,oneshot
"""

import hydra
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.run.cli import plain_errors, take_text_as_typed


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def compose_and_run(cfg: DictConfig) -> None:
    """Runs one job; Hydra calls this once per cell of the grid, in whatever process."""
    from deprune.run.launch import run_composed  # heavy imports wait until there is work

    run_composed(cfg)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        take_text_as_typed("config")
        compose_and_run()


if __name__ == "__main__":
    main()
