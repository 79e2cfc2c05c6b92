"""The command that keeps the records of a results folder as one Parquet file.

python -m deprune.archive results_dir=<folder> out=<file>.parquet
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from deprune.core.build import CONF_DIR
from deprune.run.cli import plain_errors


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="archive")
def compose_and_pack(cfg: DictConfig) -> None:
    """Packs the folder that the configuration names, and says how much that was."""
    from rich.console import Console

    from deprune.analysis.read.parquet import pack

    with plain_errors():
        file = Path(cfg.out)
        text = f"{pack(Path(cfg.results_dir), file):,} records, {file.stat().st_size / 1e3:,.0f} kB: {file}"
        Console().print(text, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        compose_and_pack()


if __name__ == "__main__":
    main()
