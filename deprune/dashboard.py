"""The command that saves a dashboard in a W&B project.

python -m deprune.dashboard tracking.project=<name> tracking.entity=<name>
"""

import hydra
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.run.cli import plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="dashboard")
def compose_and_save(cfg: DictConfig) -> None:
    """Saves the dashboard and prints its address."""
    from rich.console import Console

    from deprune.core.build import build
    from deprune.tracking import TrackingConfig
    from deprune.tracking.workspace import save_workspace

    with plain_errors():
        address = save_workspace(build(cfg.tracking, TrackingConfig, "tracking"))
        Console().print(f"Saved: {address}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_save()


if __name__ == "__main__":
    main()
