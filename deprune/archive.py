"""The command that keeps the records of a results folder as one Parquet file.

python -m deprune.archive results_dir=<folder> out=<file>.parquet
"""

from pathlib import Path

from omegaconf import DictConfig

from deprune.run.cli import command, say


@command("archive")
def main(cfg: DictConfig) -> None:
    """Packs the folder that the configuration names, and says how much that was."""
    from deprune.analysis.read.parquet import pack

    file = Path(cfg.out)
    say(f"{pack(Path(cfg.results_dir), file):,} records, {file.stat().st_size / 1e3:,.0f} kB: {file}")


if __name__ == "__main__":
    main()
