"""A saved W&B workspace for sweeps: what one looks at first, laid out once for all projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deprune.core.errors import ConfigError, DepruneError
from deprune.tracking.client import is_logged_in
from deprune.tracking.config import TrackingConfig

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

NAME = "Calibration or search?"

MOST_RUNS = 100
"""Runs that a panel draws; W&B itself stops at ten."""

COLUMNS = (
    *(f"config:{factor}.value" for factor in ("model", "calib_config", "calib_seed", "search", "budget")),
    *("summary:accuracy", "summary:calib_value"),
)
"""Columns of the table of runs beside the panels, in W&B's own notation."""


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

    titles = {"Overview": _overview, "Factors": _factors, "Search traces": _traces, "Scores by calibration": _scores,
              "Reports": _reports}  # fmt: skip
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[ws.Section(name=title, panels=panels(), is_open=True) for title, panels in titles.items()],
        settings=ws.WorkspaceSettings(max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def _overview() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    calibration, accuracy = wr.SummaryMetric("calib_value"), wr.SummaryMetric("accuracy")
    return [
        wr.ScatterPlot(title="Accuracy against calibration loss", x=calibration, y=accuracy, layout=_wide()),
        wr.BarPlot(title="Accuracy by search", metrics=["accuracy"], groupby=wr.Config("search"), **_mean()),
    ]


def _factors() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    logarithmic = ("calib_samples", "calib_seq_len")
    names = ("model", "objective", "calib_dataset", *logarithmic, "calib_seed", "search", "budget")
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(n), log=n in logarithmic) for n in names]
    columns.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric("accuracy")))
    layout = wr.Layout(w=24, h=10)
    return [wr.ParallelCoordinatesPlot(title="From the factors to accuracy", columns=columns, layout=layout)]


def _traces() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.LinePlot(
            title="Best loss so far, mean and range over runs", x="evaluations", y=["best_loss"], log_x=True,
            title_x="distinct subsets evaluated", title_y="best loss", groupby=wr.Config("search"),
            groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST_RUNS, layout=_wide(),
        )
    ]  # fmt: skip


def _scores() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    titles = {"accuracy": "Accuracy", "calib_value": "Calibration loss"}
    by = wr.Config("calib_config")
    return [wr.BarPlot(title=f"{t} by calibration", metrics=[m], groupby=by, **_mean()) for m, t in titles.items()]


def _reports() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.MediaBrowser(title="Reports", media_keys=["report"], num_columns=1, layout=wr.Layout(w=24, h=20))]


def _wide() -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.Layout(w=16, h=9)


def _mean() -> dict[str, Any]:
    """Returns what makes a bar the mean of a group, with its standard error."""
    return {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr", "max_runs_to_show": MOST_RUNS, "orientation": "h"}
