"""From a composed configuration to a written report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from deprune.analysis.frame import load
from deprune.analysis.published import load_published
from deprune.analysis.report.evidence import gather, with_published_ranks
from deprune.analysis.report.numbers import headline_numbers
from deprune.analysis.report.write import check_free, write_report
from deprune.errors import ConfigError
from deprune.tracking import TrackingConfig, track_report

T = TypeVar("T")


@dataclass
class Options:
    """The keys of `conf/analyze.yaml`, which says what they mean."""

    results_dir: str
    out: str
    sweep: str | None
    where: dict[str, Any] | None
    response: Any
    published: bool


def report_composed(cfg: DictConfig) -> None:
    """Writes the report that a composed configuration asks for, and says where it is.

    Raises:
        DepruneError: It cannot be done; the message says why. Nothing was written.
    """
    options, tracking = parse(cfg), _typed(TrackingConfig, cfg.tracking, "tracking.")
    out = Path(options.out)
    check_free(out)
    if options.published:
        results = load_published() if options.where is None else load_published().where(options.where)
    else:
        results = load(options.results_dir, options.sweep, options.where)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{results.summary} Analysing them, which can take minutes.", markup=False)
    chosen = [options.response] if isinstance(options.response, str) else options.response
    evidence = gather(results, chosen)
    evidence = with_published_ranks(evidence) if options.published else evidence
    page = write_report(evidence, out)
    console.print(f"Written: {page}", markup=False)
    if tracking.backend != "none":
        track_report(tracking, page, headline_numbers(evidence), Path(options.results_dir), options.sweep)


def parse(cfg: DictConfig) -> Options:
    """Returns the options.

    Raises:
        ConfigError: A value is not of its type.
    """
    return _typed(Options, OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "tracking"]))


def _typed(schema: type[T], node: DictConfig, where: str = "") -> T:
    try:
        return cast(T, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), node)))
    except OmegaConfBaseException as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ConfigError(f"The value of '{where}{error.full_key}' cannot be used: {reason}.") from error
