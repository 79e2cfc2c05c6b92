"""The commands, and what each is for."""

import importlib

from rich import box
from rich.console import Console
from rich.table import Table

from deprune.run.cli import plain_errors

COMMANDS = ("sweep", "plan", "prefetch", "analyze", "gaps", "archive", "export", "dashboard")
"""The modules that are commands, in the order in which a study needs them."""


def main() -> None:
    """Lists the commands; each says more with --help."""
    with plain_errors():
        table = Table("command", "what it does", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COMMANDS:
            doc = importlib.import_module(f"deprune.{name}").__doc__ or ""
            table.add_row(f"python -m deprune.{name}", doc.partition("\n")[0].removeprefix("The command that "))
        Console().print(table)
        Console().print("Each says more with --help. A first sweep:")
        Console().print("python -m deprune.sweep -m search=greedy,oneshot")


if __name__ == "__main__":
    main()
