"""The command that prints how far each search is from the best subset.

python -m deprune.gaps results_dir=<folder>
"""

from pathlib import Path

from omegaconf import DictConfig

from deprune.run.cli import command


@command("gaps")
def main(cfg: DictConfig) -> None:
    """Prints the table, and writes the gap of each run where a file for them is named."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from deprune.analysis.searches.optimality import gaps_by_search, optimality_gaps

    gaps = optimality_gaps(Path(cfg.results_dir))
    table = Table("search", "runs", "optimal", "mean gap", "median", "largest", box=box.SIMPLE_HEAD)
    for search, row in gaps_by_search(gaps).iterrows():
        numbers = (f"{row[name]:.3f}" for name in ("mean", "median", "largest"))
        table.add_row(str(search), f"{row.runs:.0f}", f"{100 * row.optimal:.0f} %", *numbers)
    Console().print(table)
    Console().print("A gap of 0 is the best subset, 1 is what a random subset has on average.", highlight=False)
    if cfg.out is not None:
        gaps.to_csv(cfg.out, index=False)


if __name__ == "__main__":
    main()
