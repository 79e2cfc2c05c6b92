"""The command that saves a dashboard in a W&B project.

python -m deprune.dashboard tracking.project=<name> tracking.entity=<name>
"""

from omegaconf import DictConfig

from deprune.run.cli import command


@command("dashboard")
def main(cfg: DictConfig) -> None:
    """Saves the dashboard and prints its address."""
    from rich.console import Console

    from deprune.core.build import build
    from deprune.tracking import TrackingConfig
    from deprune.tracking.workspace import save_workspace

    address = save_workspace(build(cfg.tracking, TrackingConfig, "tracking"))
    Console().print(f"Saved: {address}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
