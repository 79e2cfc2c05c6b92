"""The jobs of a command line, composed and checked but not run."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from deprune.core.build import CONF_DIR
from deprune.run.cli import explain
from deprune.run.config import RunConfig, check_together, parse, parse_parts
from deprune.run.grid import in_grid_order
from deprune.run.overrides import GROUPS

PARTS = tuple(field.name for field in dataclasses.fields(RunConfig))


@dataclass(frozen=True)
class PlannedJob:
    """One cell of a grid.

    Attributes:
        overrides: What makes it, as on the command line.
        config: What it is told; None where that cannot be.
        fault: Why it cannot be, in one sentence.
    """

    overrides: str
    config: RunConfig | None = None
    fault: str | None = None


def jobs_of(command: DictConfig) -> list[PlannedJob]:
    """Returns the jobs that a command would run, in their order, from its configuration with Hydra's own part."""
    params = command.hydra.sweeper.get("params") or {}
    texts = [f"{key}={value}" for key, value in params.items()]  # first, as Hydra has them
    texts += in_grid_order([str(text) for text in command.hydra.overrides.task])
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(texts), None)
    searchpath = [text for text in map(str, command.hydra.overrides.hydra) if text.startswith("hydra.searchpath")]
    composer = _Composer(command.hydra.job.config_name, searchpath)
    return [composer.job(overrides) for overrides in jobs]


class _Composer:
    """Composes each part of the jobs of a grid once: for some thousand jobs Hydra would take minutes.

    A part (model, calib, seed …) is a function of the overrides that set it, and of those that may set anything.
    """

    def __init__(self, config_name: str, searchpath: list[str]) -> None:
        self._config_name, self._searchpath = config_name, searchpath
        self._composed: dict[tuple[str, ...], tuple[DictConfig, RunConfig]] = {}
        self._parts: dict[tuple[str, ...], Any] = {}

    def job(self, overrides: Sequence[str]) -> PlannedJob:
        """Returns a job with its configuration, or with what Hydra or `parse` say against it."""
        name = " ".join(overrides) or "the defaults"
        try:
            return PlannedJob(name, self._config(overrides))
        except Exception as error:
            return PlannedJob(name, fault=explain(error))

    def _config(self, overrides: Sequence[str]) -> RunConfig:
        try:
            own: defaultdict[str, list[str]] = defaultdict(list)
            for text in overrides:
                own[_part_of(text)].append(text)
            config = RunConfig(**{part: self._part(part, *own[""], *own[part]) for part in PARTS})
        except Exception:  # another job's fault, or a part that is no function of its own overrides
            return parse(self._compose(overrides))
        check_together(config)
        return config

    def _part(self, part: str, *overrides: str) -> Any:
        key = part, *overrides
        if key not in self._parts:
            try:
                self._parts[key] = self._made(part, overrides)
            except Exception as error:
                self._parts[key] = error
        if isinstance(self._parts[key], Exception):
            raise LookupError(f"{part} cannot be made by itself") from self._parts[key]
        return self._parts[key]

    def _made(self, part: str, overrides: tuple[str, ...]) -> Any:
        if overrides not in self._composed:
            composed = self._compose(overrides)
            self._composed[overrides] = composed, parse_parts(composed)
        composed, config = self._composed[overrides]
        text = OmegaConf.to_yaml(OmegaConf.masked_copy(composed, [part]))
        if {*re.findall(r"\$\{(\w*)", text)} - {"", part}:
            raise LookupError(f"{part} refers to other parts")
        return getattr(config, part)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return compose(self._config_name, [*self._searchpath, *overrides])


def _part_of(override: str) -> str:
    """Returns the one part of a job that an override sets: a value of it, or an option of the project; else nothing."""
    found = re.fullmatch(r"(\w+)(\.[\w.]+)?=(.*)", override, re.DOTALL)
    if found is None or found[1] not in PARTS:
        return ""
    if found[2] is None and found[1] in GROUPS:
        path = CONF_DIR / found[1] / f"{found[3]}.yaml"
        if not path.is_file() or re.search("defaults|@package", path.read_text()):
            return ""
    return found[1]
