"""The command that writes a pruned model as an ordinary checkpoint.

python -m deprune.export run=<run id> out=<folder>
"""

import hydra
from omegaconf import DictConfig

from deprune.cli import CONF_DIR, plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="export")
def compose_and_export(cfg: DictConfig) -> None:
    """Exports what the configuration asks for."""
    from deprune.model.export import export_composed  # heavy imports wait until there is work

    with plain_errors():  # here too, before Hydra adds a line of its own
        export_composed(cfg)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_export()


if __name__ == "__main__":
    main()
