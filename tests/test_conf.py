"""Every configuration file composes, is built, and is refused where it does not fit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from deprune.core.build import CONF_DIR, name_of
from deprune.data.tasks import check_tasks
from deprune.run.config import RunConfig, parse
from deprune.run.identity import resolve_budget, resolve_seq_len
from deprune.run.overrides import GROUPS

OPTIONS = sorted((p.parent.name, p.stem) for group in GROUPS for p in (CONF_DIR / group).glob("*.yaml"))
NEEDED = {
    ("model", "hub"): "model.path=some/model",
    ("calib", "local"): "calib.path=text.txt",
    ("calib", "task"): "calib.task=piqa",
    ("objective", "task_margin"): "calib=mini_items",
    ("objective", "task_error"): "calib=mini_items",
}


def parsed(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return parse(compose("config", list(overrides)))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_builds(group: str, option: str) -> None:
    extra = [NEEDED[group, option]] if (group, option) in NEEDED else []
    config = parsed(f"{group}={option}", *extra)
    if group in ("search", "objective"):
        assert name_of(getattr(config, group)) == option
    if group == "calib":
        assert config.calib.name == (option if option != "task" else "piqa")
    if group == "model" and option != "hub":
        assert config.model.label == option


def test_required_options_are_there() -> None:
    assert {"llama3_8b", "llama31_8b", "qwen3_8b", "smollm2_135m", "qwen3_06b", "gpt2", "pythia_160m", "hub"} <= {
        option for group, option in OPTIONS if group == "model"
    }
    assert {"c4", "wikitext", "local", "narratives", "facts", "arithmetic", "procedures", "mixture"} <= {
        option for group, option in OPTIONS if group == "calib"
    }


def test_reasoning_is_the_studys_six_tasks() -> None:
    tasks = parsed("eval=reasoning").eval.tasks
    assert tasks == ("hellaswag", "winogrande", "arc_easy", "arc_challenge", "piqa", "boolq")
    check_tasks(tasks)


def test_every_calibration_has_the_common_settings() -> None:
    for path in (CONF_DIR / "calib").glob("*.yaml"):
        assert {"name", "n_samples", "seq_len", "seed"} <= set(OmegaConf.load(path)), path.name


@pytest.mark.parametrize(("budget", "blocks"), [(0, 0), (3, 3), (0.25, 8), (0.0, 0), (0.28, 9)])
def test_budget_is_a_number_or_a_fraction(budget: float, blocks: int) -> None:
    assert resolve_budget(budget, 32) == blocks


def test_window_length_defaults_to_the_context_at_most_2048() -> None:
    assert resolve_seq_len(None, 256) == 256
    assert resolve_seq_len(None, 8192) == 2048
    assert resolve_seq_len(None, None) == 2048
    assert resolve_seq_len(4096, None) == 4096


def test_configuration_is_beside_the_package_or_inside_it() -> None:
    assert CONF_DIR in (Path(__file__).parents[1] / "conf", Path(__file__).parents[1] / "deprune" / "conf")


EXPERIMENTS = {"study": 84, "calibration": 288, "mini": 2304, "mini_items": 288}


@pytest.mark.parametrize(
    "name", ["study", *(pytest.param(n, marks=pytest.mark.slow) for n in EXPERIMENTS if n != "study")]
)
def test_an_experiment_is_the_grid_that_it_says(name: str) -> None:
    text = (CONF_DIR / "experiment" / f"{name}.yaml").read_text()
    params = OmegaConf.to_container(OmegaConf.create(text).hydra.sweeper.params)
    assert isinstance(params, dict)
    levels = {key: str(value).split(",") for key, value in params.items()}
    assert math.prod(map(len, levels.values())) == EXPERIMENTS[name]
    for key, options in levels.items():  # each level on its own, beside the first of the others
        for option in options:
            chosen = {k: v[0] for k, v in levels.items()} | {key: option}
            config = parsed(f"+experiment={name}", *(f"{k}={v}" for k, v in chosen.items()))
            assert config.objective.needs_items == config.calib.corpus.has_items


def test_the_studys_settings_are_the_studys() -> None:
    text, items = parsed("+experiment=study", "calib=c4"), parsed("+experiment=study", "calib=commonsense170k")
    assert (text.calib.n_samples, name_of(text.objective)) == (64, "nll")
    assert resolve_seq_len(text.calib.seq_len, 8192) == 2048
    assert (items.calib.n_samples, name_of(items.objective)) == (128, "task_margin")
    assert text.eval.corpora == ("wikitext2", "c4", "lambada")
    assert len(text.eval.tasks) == 6
