"""The command that downloads what a sweep needs, for machines without a network.

python -m deprune.prefetch -m <the overrides of a sweep>
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import hydra
from omegaconf import DictConfig
from rich.console import Console

from deprune.core.build import CONF_DIR
from deprune.core.errors import ConfigError
from deprune.planning.jobs import jobs_of
from deprune.planning.needs import Need, needs_of
from deprune.run.cli import plain_errors
from deprune.run.config import RunConfig


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="prefetch")
def prefetch(command: DictConfig) -> None:
    """Says how much the jobs of a command need, downloads it, and says what to set."""
    console = Console(soft_wrap=True, highlight=False)
    jobs = jobs_of(command, "prefetch")
    if faults := [job.fault for job in jobs if job.fault is not None]:
        raise ConfigError(faults[0])
    configs = [job.config for job in jobs if job.config is not None]
    needs = needs_of(configs)
    for line in _about_needs(needs):
        console.print(line, markup=False)
    for number, need in enumerate(needs, 1):
        need.fetch()
        console.print(f"[{number}/{len(needs)}] {need.name} is here.", markup=False)
    for line in _environment(configs):
        console.print(line, markup=False)


def main() -> None:
    """Runs the command line; user errors end in one sentence and exit code 1."""
    with plain_errors():
        prefetch()


def _about_needs(needs: Sequence[Need]) -> Iterable[str]:
    for need in needs:
        yield f"{need.name}: {len(need.files)} files, {size(need.size)}"
    total, here = (sum(getattr(need, name) for need in needs) for name in ("size", "size_here"))
    yield f"To fetch: {size(total - here)}; {size(here)} of {size(total)} are here already."


def _environment(configs: Sequence[RunConfig]) -> Iterable[str]:
    from huggingface_hub import constants

    yield "Everything is here. On machines without a network that see the same folder, set"
    yield f"    export HF_HOME={constants.HF_HOME}"
    for variable in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        if variable in os.environ:
            yield f"    export {variable}={os.environ[variable]}"
    yield "    export HF_HUB_OFFLINE=1"
    if any(config.tracking.backend == "wandb" for config in configs):
        yield "    export WANDB_MODE=offline"


def size(n_bytes: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


if __name__ == "__main__":
    main()
