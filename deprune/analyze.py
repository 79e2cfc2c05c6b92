"""The command that writes the report of some results.

python -m deprune.analyze results_dir=<folder> out=<folder>
"""

import hydra
from omegaconf import DictConfig

from deprune.cli import CONF_DIR, plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="analyze")
def compose_and_report(cfg: DictConfig) -> None:
    """Writes the report that the configuration asks for."""
    from deprune.analysis.report.command import report_composed  # heavy imports wait until there is work

    with plain_errors():  # here too, before Hydra adds a line of its own
        report_composed(cfg)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_report()


if __name__ == "__main__":
    main()
