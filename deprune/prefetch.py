"""The command that downloads what a sweep needs, for machines without a network.

python -m deprune.prefetch -m <the overrides of a sweep>
"""

import os
import shlex

from omegaconf import DictConfig

from deprune.core.errors import ConfigError
from deprune.planning.jobs import jobs_of
from deprune.planning.needs import needs_of
from deprune.run.cli import command, say


@command("prefetch")
def main(cfg: DictConfig) -> None:
    """Says how much the jobs of a command need, downloads it, and says what to set."""
    from huggingface_hub import constants

    jobs = jobs_of(cfg)
    if faults := [job.fault for job in jobs if job.fault is not None]:
        raise ConfigError(faults[0])
    configs = [job.config for job in jobs if job.config is not None]
    needs = needs_of(configs)
    say(*(f"{need.name}: {len(need.files)} files, {size(need.size)}" for need in needs))
    total, here = sum(need.size for need in needs), sum(need.size_here for need in needs)
    say(f"To fetch: {size(total - here)}; {size(here)} of {size(total)} are here already.")
    for number, need in enumerate(needs, 1):
        need.fetch()
        say(f"[{number}/{len(needs)}] {need.name} is here.")
    say("Everything is here. On machines without a network that see the same folder, set")
    caches = {name: os.environ[name] for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE") if name in os.environ}
    to_set = {"HF_HOME": constants.HF_HOME, **caches, "HF_HUB_OFFLINE": "1"}
    if any(config.tracking.backend == "wandb" for config in configs):
        to_set["WANDB_MODE"] = "offline"
    say(*(f"    export {name}={shlex.quote(value)}" for name, value in to_set.items()))


def size(n_bytes: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


if __name__ == "__main__":
    main()
