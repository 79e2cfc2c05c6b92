"""From a composed Hydra configuration to typed, checked objects.

The dataclass of each part is its schema: the YAML may set only its fields, with values of
their types. `search`, `objective` and the corpus of `calib` are plug-ins, named by `_target_`.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deprune.calib.base import CalibConfig, Corpus
from deprune.downstream import EvalConfig
from deprune.errors import ConfigError
from deprune.evaluator.base import EvaluatorConfig
from deprune.model.load import ModelConfig
from deprune.nearest import unknown_name
from deprune.objective.base import Objective
from deprune.search.base import Search
from deprune.tracking import TrackingConfig

T = TypeVar("T")

_CALIB_COMMON = ("name", "n_samples", "seq_len", "seed")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that one job is told.

    Attributes:
        budget: Number of blocks to remove, or, below 1, the fraction of blocks.
        seed: Seed of the search; the calibration draw has its own.
        force: Recompute a run whose record exists, with nothing remembered.
        retry_failed: Run a job again that failed before.
    """

    model: ModelConfig
    calib: CalibConfig
    objective: Objective
    search: Search
    eval: EvalConfig
    tracking: TrackingConfig
    evaluator: EvaluatorConfig
    budget: int | float
    seed: int
    results_dir: Path
    device: str
    dtype: str
    force: bool
    retry_failed: bool


def parse(cfg: DictConfig) -> RunConfig:
    """Returns the typed configuration.

    Raises:
        ConfigError: A key is unknown, missing, or of the wrong type, or a value out of range.
    """
    calib = cast(DictConfig, cfg.calib)
    parsed = RunConfig(
        model=build(cfg.model, ModelConfig, "model"),
        calib=CalibConfig(
            corpus=corpus_of(calib),
            name=_typed(calib.name, str, "calib.name"),
            n_samples=_typed(calib.n_samples, int, "calib.n_samples"),
            seq_len=_typed(calib.seq_len, (int, type(None)), "calib.seq_len"),
            seed=_typed(calib.seed, int, "calib.seed"),
        ),
        objective=build_target(cfg.objective, Objective, "objective"),
        search=build_target(cfg.search, Search, "search"),
        eval=build(cfg.eval, EvalConfig, "eval"),
        tracking=build(cfg.tracking, TrackingConfig, "tracking"),
        evaluator=build(cfg.evaluator, EvaluatorConfig, "evaluator"),
        budget=_typed(cfg.budget, (int, float), "budget"),
        seed=_typed(cfg.seed, int, "seed"),
        results_dir=Path(_typed(cfg.results_dir, str, "results_dir")),
        device=_typed(cfg.device, str, "device"),
        dtype=_typed(cfg.dtype, str, "dtype"),
        force=_typed(cfg.force, bool, "force"),
        retry_failed=_typed(cfg.retry_failed, bool, "retry_failed"),
    )
    _check_ranges(parsed)
    if parsed.objective.needs_items and not parsed.calib.corpus.has_items:
        raise ConfigError(
            f"The objective {name_of(parsed.objective)} needs multiple-choice items, but the calibration "
            f"'{parsed.calib.name}' is text; use objective=nll or kl with it, or a calibration with items such as "
            "calib=commonsense170k, calib=mini_items, or calib=task calib.task=arc_easy."
        )
    return parsed


def corpus_of(calib: Any) -> Corpus:
    """Builds the corpus of a calibration configuration.

    Raises:
        ConfigError: As `build_target`.
    """
    source = OmegaConf.masked_copy(calib, [str(k) for k in calib if k not in ("defaults", *_CALIB_COMMON)])
    return build_target(source, Corpus, "calib", also=_CALIB_COMMON)


def build_target(node: Any, protocol: type[T], where: str, also: Sequence[str] = ()) -> T:
    """Builds the plug-in that a node names by `_target_`.

    Args:
        node: The plug-in's part of the configuration.
        protocol: What it must be a subclass of.
        where: The node's key, for messages.
        also: Further keys that are known there, for messages.

    Raises:
        ConfigError: The class does not exist or is no plug-in of this kind, or a field is wrong.
    """
    target = node.get("_target_")
    try:
        cls = pkgutil.resolve_name(str(target))
    except Exception as error:
        raise ConfigError(f"The class '{target}' of {where}._target_ cannot be imported: {error}.") from error
    if not (isinstance(cls, type) and issubclass(cls, protocol)):
        raise ConfigError(f"The class '{target}' of {where}._target_ is not a {protocol.__name__}.")
    return build(OmegaConf.masked_copy(node, [k for k in node if k != "_target_"]), cls, where, also)


def build(node: Any, cls: type[T], where: str, also: Sequence[str] = ()) -> T:
    """Builds a dataclass from a node; the dataclass is the schema.

    Raises:
        ConfigError: A key is not a field, or a value not of the field's type.
    """
    fields = [f.name for f in dataclasses.fields(cast(Any, cls))]
    for key in node:
        if key not in fields:
            raise ConfigError(unknown_name("key", f"{where}.{key}", [f"{where}.{f}" for f in (*fields, *also)]))
        if OmegaConf.is_missing(node, key):
            raise ConfigError(f"The key '{where}.{key}' needs a value; give one with {where}.{key}=<value>.")
    try:
        built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), node))
    except OmegaConfBaseException as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ConfigError(f"The value of '{where}.{error.full_key or ''}' cannot be used: {reason}.") from error
    return cast(T, built)


def name_of(plugin: object) -> str:
    """Returns the name of a search or objective, which is that of its file."""
    return type(plugin).__module__.rpartition(".")[2]


def _typed(value: Any, kind: Any, where: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise ConfigError(f"The value of '{where}' is {value!r}, but must be of type {wanted}.")
    return value


def _check_ranges(config: RunConfig) -> None:
    at_least: dict[str, tuple[int | None, int]] = {
        "calib.n_samples": (config.calib.n_samples, 1),
        "calib.seq_len": (config.calib.seq_len, 2),
        "calib.seed": (config.calib.seed, 0),
        "seed": (config.seed, 0),
        "eval.batch_size": (config.eval.batch_size, 1),
        "eval.limit": (config.eval.limit, 1),
        "eval.windows": (config.eval.windows, 1),
    }
    for where, (value, smallest) in at_least.items():
        if value is not None and value < smallest:
            raise ConfigError(f"The value of '{where}' is {value}, but must be at least {smallest}.")
