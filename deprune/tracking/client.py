"""The W&B client, held to what is worth waiting for and to what is anybody's business."""

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from deprune.core.errors import one_line
from deprune.core.redaction import redact
from deprune.tracking.config import TrackingConfig

log = logging.getLogger(__name__)

INIT_SECONDS, FINISH_SECONDS = 15.0, 30.0
"""How long a run waits for the server to know it, and for its data to arrive."""

UNREACHABLE = "DEPRUNE_WANDB_UNREACHABLE"
"""Environment variable that tells later jobs of this process and of its children not to wait for the server again."""


def send(
    config: TrackingConfig, results_dir: Path, description: dict[str, Any], fill: Callable[[Any], None], what: str
) -> None:
    """Makes a W&B run below `results_dir`; whatever goes wrong is one line in the log.

    `wandb.init` is told the description, `fill` logs what there is to log, and `what` is its name in messages.
    """
    if config.backend == "none":
        return
    try:
        _send(config, results_dir, description, fill)
    except Exception as error:
        log.warning("The %s was not tracked in W&B (it is safe on disk): %s", what, redact(one_line(error)))


def _send(config: TrackingConfig, results_dir: Path, description: dict[str, Any], fill: Callable[[Any], None]) -> None:
    """Makes the run where it belongs, or, where the server fails, once more and offline, under another id."""
    import wandb

    results_dir.mkdir(parents=True, exist_ok=True)
    _give_it_a_cache(results_dir)
    told = {**description, "project": config.project, "entity": config.entity, "dir": results_dir}
    told["settings"] = settings()
    mode = choose_mode(config.mode or os.environ.get("WANDB_MODE"))
    try:
        _write(wandb.init(mode=mode, **told), fill)
    except Exception as error:
        if mode != "online":
            raise
        os.environ[UNREACHABLE] = "1"
        log.warning(
            "W&B did not take a run (%s), so this process keeps its runs offline from now on; send them later with "
            "`wandb sync <results_dir>/wandb/offline-run-*`.",
            redact(one_line(error)),
        )
        _write(wandb.init(mode="offline", **told), fill)


def _give_it_a_cache(results_dir: Path) -> None:
    """Lets the client's server keep its log among the results where it cannot in the home: else it prints it."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("WANDB_CACHE_DIR") or usual / "wandb") / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        os.environ["WANDB_CACHE_DIR"] = str(results_dir.absolute() / "wandb" / "cache")


def _write(run: Any, fill: Callable[[Any], None]) -> None:
    """Fills and finishes a run; a client that waits longer than it was told to is left with a TimeoutError."""
    failed: list[Exception] = []

    def work() -> None:
        try:
            fill(run)
            run.finish()
        except Exception as error:
            failed.append(error)
            with suppress(Exception):
                run.finish(exit_code=1)  # as a context manager the run would print a traceback

    with nullcontext() if run.offline else _online_environment():
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(FINISH_SECONDS + 5)
    for error in failed:
        raise error
    if thread.is_alive():
        raise TimeoutError("Timed out sending the run.")


@contextmanager
def _online_environment() -> Iterator[None]:
    """Sets what the client reads from the environment only: how long a question waits, and where files are staged.

    They are staged in a temporary folder, for the client sends their places along, by default in the user's home.
    Files of offline runs stay in their place: they are needed until they are sent.
    """
    with tempfile.TemporaryDirectory(prefix="wandb-", ignore_cleanup_errors=True) as folder:
        ours = {"WANDB_DATA_DIR": folder, "WANDB_HTTP_TIMEOUT": os.environ.get("WANDB_HTTP_TIMEOUT", "5")}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def settings() -> Any:
    """Returns settings under which a run costs little, waits for nobody long, and tells nothing of the machine."""
    import wandb

    return wandb.Settings(
        silent=True, console="off", program="deprune", disable_code=True, disable_git=True, x_disable_meta=True,
        x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False,
        init_timeout=INIT_SECONDS, x_graphql_timeout_seconds=INIT_SECONDS, x_file_stream_timeout_seconds=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS, finish_timeout_raises=True,
        x_graphql_retry_max=1, x_file_stream_retry_max=1, x_file_transfer_retry_max=1,
    )  # fmt: skip


def choose_mode(wanted: str | None) -> Any:
    """Returns the mode for a run; never online without a login, since W&B would ask for one."""
    if wanted not in (None, "online"):
        return wanted
    if os.environ.get(UNREACHABLE) == "1":
        return "offline"
    if is_logged_in():
        return "online"
    if wanted == "online":
        log.warning("You are not logged in to W&B, so the run is kept offline; set WANDB_API_KEY or run `wandb login`.")
    return "offline"


def is_logged_in() -> bool:
    """Returns whether there is a key for W&B on this machine; whether it is good is for the server to say."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return bool(wandb.login(prompt=False, verify=False))
