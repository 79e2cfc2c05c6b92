"""A saved W&B workspace for sweeps: what one looks at first, laid out once for all projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, DepruneError
from deprune.tracking.client import is_logged_in
from deprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

MOST_RUNS = 100
"""Runs that a panel draws; W&B itself stops at ten."""

COLUMNS = (
    *(f"config:{factor}.value" for factor in ("model", "calib_config", "calib_seed", "search", "budget")),
    *("summary:accuracy", "summary:calib_value"),
)
"""Columns of the table of runs beside the panels, in W&B's own notation."""

LOGARITHMIC = ("calib_samples", "calib_seq_len")
FACTORS = ("model", "objective", "calib_dataset", *LOGARITHMIC, "calib_seed", "search", "budget")


def save_workspace(config: TrackingConfig) -> str:
    """Saves a new view in a W&B project and returns its address.

    Raises:
        ConfigError: `wandb-workspaces` is not installed, or nobody is logged in.
        DepruneError: W&B refused, or did not answer.
    """
    try:
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "A dashboard needs the package wandb-workspaces; install it with pip install 'deprune[dashboards]'."
        ) from error
    import wandb

    if not is_logged_in():
        raise ConfigError("You are not logged in to W&B; set WANDB_API_KEY or run `wandb login`.")
    try:
        entity = config.entity or wandb.Api().default_entity
        return str(workspace(config.project, str(entity)).save().url)
    except Exception as error:  # the client's errors for a server that refuses or is away have no common base
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DepruneError(
            f"W&B did not save the dashboard in the project '{config.project}' ({reason}); see whether the project "
            "exists and is yours, or name its owner with tracking.entity=<name>."
        ) from error


def workspace(project: str, entity: str) -> ws.Workspace:
    """Returns the workspace; nothing is sent."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name="Calibration or search?",
        sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in _panels().items()],
        settings=ws.WorkspaceSettings(max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def _panels() -> dict[str, list[Any]]:
    """Returns the panels of each section."""
    import wandb_workspaces.reports.v2 as wr

    wide, large, largest = (wr.Layout(w=w, h=h) for w, h in ((16, 9), (24, 10), (24, 20)))
    search, calibration = wr.Config("search"), wr.Config("calib_config")
    loss, accuracy = wr.SummaryMetric("calib_value"), wr.SummaryMetric("accuracy")
    # The mean of a group, with its standard error.
    bars = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr", "max_runs_to_show": MOST_RUNS, "orientation": "h"}
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(n), log=n in LOGARITHMIC) for n in FACTORS]
    axes.append(wr.ParallelCoordinatesPlotColumn(metric=accuracy))
    traces = wr.LinePlot(
        title="Best loss so far, mean and range over runs", x="evaluations", y=["best_loss"], log_x=True,
        title_x="distinct subsets evaluated", title_y="best loss", groupby=search,
        groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST_RUNS, layout=wide,
    )  # fmt: skip
    return {
        "Overview": [
            wr.ScatterPlot(title="Accuracy against calibration loss", x=loss, y=accuracy, layout=wide),
            wr.BarPlot(title="Accuracy by search", metrics=["accuracy"], groupby=search, **bars),
        ],
        "Factors": [wr.ParallelCoordinatesPlot(title="From the factors to accuracy", columns=axes, layout=large)],
        "Search traces": [traces],
        "Scores by calibration": [
            wr.BarPlot(title=f"{title} by calibration", metrics=[metric], groupby=calibration, **bars)
            for metric, title in (("accuracy", "Accuracy"), ("calib_value", "Calibration loss"))
        ],
        "Reports": [wr.MediaBrowser(title="Reports", media_keys=["report"], num_columns=1, layout=largest)],
    }
