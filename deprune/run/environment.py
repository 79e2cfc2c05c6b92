"""What a run ran on: versions, device, and the state of the code. No paths, no secrets."""

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import deprune

PACKAGES = ("torch", "transformers", "datasets", "lm-eval", "tokenizers", "numpy", "hydra-core")


def describe_environment(device: str) -> dict[str, str]:
    """Returns names and versions of everything that can change a result in its last digits."""
    import torch

    return {
        "deprune": deprune.__version__,
        "code": _code_state(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU",
        "threads": str(torch.get_num_threads()),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


@functools.cache
def _code_state() -> str:
    """Returns the commit of the clone that runs, marked where it has local changes."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "installed"
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with local changes" if changes.stdout.strip() else "")
