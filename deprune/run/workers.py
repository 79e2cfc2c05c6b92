"""The processes that Hydra's launchers run jobs in, and how those on one machine share its GPUs."""

import errno
import os
import re
import socket
import warnings
from collections.abc import Sequence
from functools import cache

from omegaconf import DictConfig, OmegaConf

# Hydra checks conf/hydra/launcher against the schemas of the same names that its plugins bring, as it
# should, and says at every job, in every worker, that some day it no longer will.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


def runs_in_this_process(launcher: DictConfig) -> bool:
    """Whether a launcher runs jobs in the process of the command itself."""
    import joblib

    if str(launcher._target_).endswith("JoblibLauncher"):
        return bool(joblib.effective_n_jobs(launcher.n_jobs) == 1)
    return str(launcher._target_).endswith("BasicLauncher")


def start_ray(config: DictConfig) -> None:
    """Starts or joins the cluster of Ray's launcher, where that is the one, earlier than the launcher does.

    Ray takes SIGTERM for itself when it starts; after this it can be handled again.
    """
    if str(config.hydra.launcher._target_).endswith("RayLauncher"):
        from hydra_plugins.hydra_ray_launcher import _launcher_util

        _launcher_util.start_ray(config.hydra.launcher.ray.init)


def missing_launcher(message: str) -> str | None:
    """Returns the sentence for a launcher that is not installed, or None where Hydra means something else."""
    found = re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+)_launcher", message)
    return f"This launcher is not installed; add it with: pip install 'deprune[{found[1]}]'." if found else None


def default_workers() -> int:
    """Returns how many workers suit this machine: one per GPU, or per core where there is none."""
    import joblib
    import torch

    return torch.cuda.device_count() or int(joblib.cpu_count())


OmegaConf.register_new_resolver("workers", default_workers, use_cache=True, replace=True)


def share_of(worker: int, n_workers: int, gpus: Sequence[str]) -> Sequence[str]:
    """Returns the GPUs of a worker, counted from 0: disjoint shares, or one where there are more workers than GPUs."""
    return gpus[worker % n_workers :: n_workers] or [gpus[worker % len(gpus)]]


@cache
def take_share(n_workers: int) -> None:
    """Lets this process see its share of the GPUs alone, among as many workers as joblib understands by `n_workers`.

    Once, and before anything has used a GPU.
    """
    import joblib
    import torch

    n_gpus = torch.cuda.device_count()  # asks the driver's management library, which does not start CUDA
    if n_gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",")[:n_gpus] if visible else [str(gpu) for gpu in range(n_gpus)]
        share = share_of(worker_number(), joblib.effective_n_jobs(n_workers), gpus)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share)


def worker_number() -> int:
    """Returns the lowest number that no other living worker of the command has taken.

    joblib replaces workers whose memory has grown, so its own numbering has gaps. A name in the
    abstract namespace of Linux is taken by one process at a time, and freed when that ends.
    """
    number = 0
    while True:
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0deprune-{os.getppid()}-{number}")
        except OSError as error:
            name.close()
            if error.errno != errno.EADDRINUSE:
                raise
            number += 1
        else:
            name.detach()  # stays open as long as the process lives
            return number
