"""Where runs are tracked."""

import re
from dataclasses import dataclass

from deprune.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are tracked.

    Attributes:
        backend: `wandb` or `none`.
        project: The W&B project.
        entity: The user or team that has the project; by default what W&B has for you.
        mode: `online`, `offline`, or by default online exactly where the user is logged in.
    """

    backend: str = "none"
    project: str = "deprune"
    entity: str | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in ("none", "wandb"):
            raise ConfigError(f"The tracking backend '{self.backend}' is not one of none, wandb.")
        if self.mode not in (None, "online", "offline"):
            raise ConfigError(f"The value of tracking.mode, '{self.mode}', is not one of online, offline, null.")
        if not re.fullmatch(r"[^/\\#?%:]{1,128}", self.project):
            raise ConfigError(
                f"The value of tracking.project, '{self.project}', is no name of a W&B project; give 1 to 128 "
                "characters without / \\ # ? % :, and the user or team in tracking.entity."
            )
