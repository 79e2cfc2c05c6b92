"""The command that saves a dashboard in a W&B project.

python -m deprune.dashboard tracking.project=<name> tracking.entity=<name>
"""

from omegaconf import DictConfig

from deprune.run.cli import command, say


@command("dashboard")
def main(cfg: DictConfig) -> None:
    """Saves the dashboard and prints its address."""
    from deprune.core.build import build
    from deprune.tracking import TrackingConfig
    from deprune.tracking.workspace import save_workspace

    address = save_workspace(build(cfg.tracking, TrackingConfig, "tracking"))
    say(f"Saved: {address}")


if __name__ == "__main__":
    main()
