"""The command that writes the report of some results.

python -m deprune.analyze results_dir=<folder> out=<folder>
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deprune.core.build import build
from deprune.run.cli import command, say
from deprune.tracking import TrackingConfig, track_report


@dataclass
class Options:
    """The keys of `conf/analyze.yaml`, which says what they mean."""

    results_dir: str
    out: str
    sweep: str | None
    where: dict[str, Any] | None
    response: Any
    published: bool


@command("analyze")
def main(cfg: DictConfig) -> None:
    """Writes the report that the configuration asks for, and says where it is."""
    from deprune.analysis import load, load_published  # heavy imports wait until there is work
    from deprune.analysis.report import gather, headline_numbers, with_published_ranks, write_report
    from deprune.analysis.report.write import check_free

    options, tracking = parse(cfg), build(cfg.tracking, TrackingConfig, "tracking")
    out = Path(options.out)
    check_free(out)
    if options.published:
        results = load_published() if options.where is None else load_published().where(options.where)
    else:
        results = load(options.results_dir, options.sweep, options.where)
    say(f"{results.summary} Analysing them, which can take minutes.")
    chosen = [options.response] if isinstance(options.response, str) else options.response
    evidence = gather(results, chosen)
    evidence = with_published_ranks(evidence) if options.published else evidence
    page = write_report(evidence, out)
    say(f"Written: {page}")
    if tracking.backend != "none":
        track_report(tracking, page, headline_numbers(evidence), Path(options.results_dir), options.sweep)


def parse(cfg: DictConfig) -> Options:
    """Returns the options.

    Raises:
        ConfigError: A value is not of its type.
    """
    return build(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "tracking"]), Options, "")


if __name__ == "__main__":
    main()
