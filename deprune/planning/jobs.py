"""The jobs of a command line, composed and checked but not run."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from deprune.core.build import CONF_DIR
from deprune.run.cli import GROUPS, explain
from deprune.run.config import RunConfig, check_together, parse, parse_parts
from deprune.run.grid import in_grid_order


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


def jobs_of(command: DictConfig, config_name: str) -> list[PlannedJob]:
    """Returns the jobs that a command would run, in their order.

    Args:
        command: The configuration of the whole command, with Hydra's own part.
        config_name: The name of its file.
    """
    composer = _Composer(command, config_name)
    return [_job(composer, overrides) for overrides in _grid(command)]


def _grid(command: DictConfig) -> Iterator[list[Override]]:
    """Yields the overrides of each job: those of the sweeper's own parameters first, as Hydra has them."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    params = command.hydra.sweeper.get("params") or {}
    texts = [f"{key}={value}" for key, value in params.items()]
    texts += in_grid_order([str(text) for text in command.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(texts), None)
    parsed = {text: parser.parse_override(text) for text in {text for job in jobs for text in job}}
    for job in jobs:
        yield [parsed[text] for text in job]


def _job(composer: _Composer, overrides: Sequence[Override]) -> PlannedJob:
    name = " ".join(map(_text, overrides)) or "the defaults"
    try:
        return PlannedJob(name, composer.config(overrides))
    except Exception as error:
        return PlannedJob(name, fault=explain(error))


class _Composer:
    """Composes the jobs of a grid, each part once: for some thousand jobs Hydra would take minutes.

    A part (model, calib, seed …) is a function of the level that a job has of its group, of the values that
    it sets below, and of what the whole grid has in common; beside it, the others have their first levels.
    """

    def __init__(self, command: DictConfig, config_name: str) -> None:
        self._command = command
        self._config_name = config_name
        own = [str(text) for text in command.hydra.overrides.hydra]
        self._searchpath = [text for text in own if text.startswith("hydra.searchpath")]
        self._sorts: dict[str, str] = {}
        self._firsts: dict[tuple[str, ...], dict[str, str]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._parts: dict[tuple[Any, ...], Any] = {}

    def config(self, overrides: Sequence[Override]) -> RunConfig:
        """Returns the configuration of a job.

        Raises:
            Exception: It has none, as Hydra or `parse` explain.
        """
        try:
            config = RunConfig(**self._all_parts(overrides))
        except Exception:  # what is wrong may be another job's fault
            return parse(self._compose(*map(_text, overrides)))
        check_together(config)
        return config

    def _all_parts(self, overrides: Sequence[Override]) -> dict[str, Any]:
        rest: list[str] = []
        levels: dict[str, str] = {}
        values: defaultdict[str, list[Override]] = defaultdict(list)
        for override in overrides:
            match self._sort(override):
                case "level":
                    levels[override.key_or_group] = _text(override)
                case "value":
                    values[override.key_or_group.partition(".")[0]].append(override)
                case _:
                    rest.append(_text(override))
        firsts = self._firsts.setdefault(tuple(rest), levels)
        if levels.keys() != firsts.keys():
            raise LookupError
        return {
            field.name: self._part(field.name, rest, firsts | _only(levels, field.name), values[field.name])
            for field in dataclasses.fields(RunConfig)
        }

    def _part(self, name: str, rest: list[str], levels: dict[str, str], values: list[Override]) -> Any:
        key = (name, *rest, *levels.values(), *map(_text, values))
        if key not in self._parts:
            config = self._compose(*rest, *levels.values()).copy()
            if any(_lacks(config, override.key_or_group) for override in values) or _looks_elsewhere(config, name):
                raise LookupError
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value())
            self._parts[key] = getattr(parse_parts(config), name)
        return self._parts[key]

    def _compose(self, *overrides: str) -> DictConfig:
        if overrides not in self._composed:
            self._composed[overrides] = compose(self._config_name, [*self._searchpath, *overrides])
        return self._composed[overrides]

    def _sort(self, override: Override) -> str:
        """Returns what an override is: a level of a group, a plain value, or something that may change all else."""
        text = _text(override)
        if text not in self._sorts:
            level, value = _stands_alone(override), self._is_value(override)
            self._sorts[text] = "level" if level else "value" if value else "rest"
        return self._sorts[text]

    def _is_value(self, override: Override) -> bool:
        """Whether an override sets a plain value, which cannot change what else is composed."""
        key = override.key_or_group
        plain = override.type == OverrideType.CHANGE and override.package is None and "/" not in key
        if not plain or key.startswith("hydra") or _lacks(self._command, key):
            return False
        return "." in key or not OmegaConf.is_dict(self._command[key])


def _only(levels: dict[str, str], group: str) -> dict[str, str]:
    return {group: levels[group]} if group in levels else {}


def _looks_elsewhere(config: DictConfig, name: str) -> bool:
    """Whether a part of a configuration refers to another, so that it is no function of its own level alone."""
    text = OmegaConf.to_yaml(OmegaConf.masked_copy(config, [name]), resolve=False)
    return any(top not in ("", name) for top in re.findall(r"\$\{(\w*)", text))


def _text(override: Override) -> str:
    return str(override.input_line)


def _stands_alone(override: Override) -> bool:
    """Whether an override chooses an option of the project that sets its own group and nothing else."""
    if override.type != OverrideType.CHANGE or override.package is not None or override.key_or_group not in GROUPS:
        return False
    path = CONF_DIR / override.key_or_group / f"{override.value()}.yaml"
    return path.is_file() and "defaults" not in path.read_text() and "@package" not in path.read_text()


def _lacks(config: DictConfig, key: str) -> bool:
    """Whether a configuration has no such key; one without a value counts as there."""
    parent, _, last = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
    return not OmegaConf.is_dict(node) or last not in list(node.keys())
