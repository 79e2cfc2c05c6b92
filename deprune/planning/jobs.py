"""The jobs of a command line, composed and checked but not run."""

from __future__ import annotations

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
from deprune.run.config import RunConfig, parse
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
    name = " ".join(_text(o) for o in overrides) or "the defaults"
    try:
        return PlannedJob(name, parse(composer.compose(overrides)))
    except Exception as error:
        return PlannedJob(name, fault=explain(error))


class _Composer:
    """Composes the jobs of a grid, each piece once: for some thousand jobs Hydra would take minutes.

    Hydra composes every level of a group that another configuration cannot depend on beside the first
    levels of the others, and its node is then put in place. Plain values are set last, as Hydra does it.
    """

    def __init__(self, command: DictConfig, config_name: str) -> None:
        self._command = command
        self._config_name = config_name
        own = [str(text) for text in command.hydra.overrides.hydra]
        self._searchpath = [text for text in own if text.startswith("hydra.searchpath")]
        self._bases: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        self._nodes: dict[tuple[tuple[str, ...], str], Any] = {}

    def compose(self, overrides: Sequence[Override]) -> DictConfig:
        """Returns the configuration of a job."""
        values = {o.key_or_group: o.value() for o in overrides if self._is_value(o)}
        free = {o.key_or_group: _text(o) for o in overrides if _stands_alone(o)}
        rest = tuple(_text(o) for o in overrides if not self._is_value(o) and not _stands_alone(o))
        if rest not in self._bases:
            self._bases[rest] = self._compose(*rest, *free.values()), free
        base, chosen = self._bases[rest]
        if free.keys() != chosen.keys():
            return self._compose(*(_text(o) for o in overrides))
        config = base.copy()
        for group, choice in free.items():
            if choice != chosen[group]:
                config[group] = self._node(rest, chosen | {group: choice}, group)
        if any(_lacks(config, key) for key in values):
            return self._compose(*(_text(o) for o in overrides))  # Hydra knows what is wrong with it
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        return config

    def _node(self, rest: tuple[str, ...], choices: dict[str, str], group: str) -> Any:
        key = rest, choices[group]
        if key not in self._nodes:
            self._nodes[key] = self._compose(*rest, *choices.values())[group]
        return self._nodes[key]

    def _compose(self, *overrides: str) -> DictConfig:
        return compose(self._config_name, [*self._searchpath, *overrides])

    def _is_value(self, override: Override) -> bool:
        """Whether an override sets a plain value, which cannot change what else is composed."""
        key = override.key_or_group
        plain = override.type == OverrideType.CHANGE and override.package is None and "/" not in key
        if not plain or key.startswith("hydra") or _lacks(self._command, key):
            return False
        return "." in key or not OmegaConf.is_dict(self._command[key])


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
