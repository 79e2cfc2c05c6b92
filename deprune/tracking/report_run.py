"""The W&B run of a report: the page as a panel, the folder as an artifact, the headline in the summary."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deprune.core.fingerprint import file_name_of
from deprune.tracking.client import send
from deprune.tracking.config import TrackingConfig


def track_report(
    config: TrackingConfig, page: Path, headline: Mapping[str, Any], results_dir: Path, sweep: str | None
) -> None:
    """Sends a finished report to the tracker; whatever goes wrong there is only logged.

    What lies beside the page is the rest of the report, and the headline becomes the run's summary. The run joins the
    group of the sweep that the report is on, None where it is on all runs.
    """
    description = {
        "name": f"report · {sweep or 'all runs'}",
        "group": sweep,
        "job_type": "analysis",
        "tags": ["report"],
        "config": {"sweep": sweep},
    }
    send(config, results_dir, description, functools.partial(_fill, page, headline, sweep), "report")


def _fill(page: Path, headline: Mapping[str, Any], sweep: str | None, run: Any) -> None:
    import wandb

    # Injected, W&B's stylesheet would only be refused by the page's security policy.
    run.log({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)})
    run.summary.update(dict(headline))
    artifact = wandb.Artifact(f"report-{file_name_of(sweep or 'all')}", type="report")
    artifact.add_file(str(page), skip_cache=True)
    for part in ("tables", "figures"):
        artifact.add_dir(str(page.parent / part), name=part, skip_cache=True)
    run.log_artifact(artifact)
