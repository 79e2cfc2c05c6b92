"""From a composed Hydra configuration to typed, checked objects.

The dataclass of each part is its schema: the YAML may set only its fields, with values of
their types. `search`, `objective`, `treat`, the corpus of `calib` and the scorers of `eval` are
plug-ins, named by `_target_`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from deprune.core.build import build, build_target, name_of, typed
from deprune.core.errors import ConfigError
from deprune.data.corpus import CalibConfig, corpus_of
from deprune.downstream.base import EvalConfig, Scorer
from deprune.evaluator.base import EvaluatorConfig
from deprune.model.source import ModelConfig
from deprune.objective.base import Objective
from deprune.search.base import Search
from deprune.tracking import TrackingConfig
from deprune.treat.base import Treatment


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
    treat: Treatment
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
    parsed = parse_parts(cfg)
    check_together(parsed)
    return parsed


def parse_parts(cfg: DictConfig) -> RunConfig:
    """Returns the typed configuration, of which every part is right by itself.

    Raises:
        ConfigError: A key is unknown, missing, or of the wrong type.
    """
    calib = cast(DictConfig, cfg.calib)
    return RunConfig(
        model=build(cfg.model, ModelConfig, "model"),
        calib=CalibConfig(
            corpus=corpus_of(calib),
            name=typed(calib.name, str, "calib.name"),
            n_samples=typed(calib.n_samples, int, "calib.n_samples"),
            seq_len=typed(calib.seq_len, (int, type(None)), "calib.seq_len"),
            seed=typed(calib.seed, int, "calib.seed"),
        ),
        objective=build_target(cfg.objective, Objective, "objective"),
        search=build_target(cfg.search, Search, "search"),
        treat=build_target(cfg.treat, Treatment, "treat"),
        eval=_evaluation(cfg.eval),
        tracking=build(cfg.tracking, TrackingConfig, "tracking"),
        evaluator=build(cfg.evaluator, EvaluatorConfig, "evaluator"),
        budget=typed(cfg.budget, (int, float), "budget"),
        seed=typed(cfg.seed, int, "seed"),
        results_dir=Path(typed(cfg.results_dir, str, "results_dir")),
        device=typed(cfg.device, str, "device"),
        dtype=typed(cfg.dtype, str, "dtype"),
        force=typed(cfg.force, bool, "force"),
        retry_failed=typed(cfg.retry_failed, bool, "retry_failed"),
    )


def check_together(config: RunConfig) -> None:
    """Makes sure that values are in range and parts fit one another.

    Raises:
        ConfigError: They are not, or do not.
    """
    _check_ranges(config)
    if config.objective.needs_items and not config.calib.corpus.has_items:
        raise ConfigError(
            f"The objective {name_of(config.objective)} needs multiple-choice items, but the calibration "
            f"'{config.calib.name}' is text; use objective=nll or kl with it, or a calibration with items such as "
            "calib=commonsense170k, calib=mini_items, or calib=task calib.task=arc_easy."
        )


def _evaluation(node: DictConfig) -> EvalConfig:
    settings = build(OmegaConf.masked_copy(node, [str(k) for k in node if k != "scorers"]), EvalConfig, "eval")
    nodes = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(node.get("scorers") or {}, resolve=True)))
    built = {str(key): build_target(nodes[key], Scorer, f"eval.scorers.{key!s}") for key in nodes}
    return dataclasses.replace(settings, scorers=built)


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
