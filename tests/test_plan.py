"""A plan against what it foretells: Hydra's own grid, the real evaluator's counts, real sweeps, published sizes."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from deprune.core.build import CONF_DIR
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.known import known
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.model.blocks import BlockInputs, BlockStack
from deprune.model.load import LoadedModel
from deprune.model.source import ModelConfig
from deprune.objective.kl import KullbackLeibler
from deprune.objective.nll import NegativeLogLikelihood
from deprune.planning.architecture import architecture_of
from deprune.planning.counting import CountingEvaluator, CountingStack
from deprune.planning.forecast import Forecast
from deprune.planning.hardware import Hardware
from deprune.planning.jobs import PlannedJob, jobs_of
from deprune.planning.timing import ThisMachine
from deprune.record.evaluations import EvaluationStore
from deprune.record.store import read_record
from deprune.run.config import RunConfig, parse
from deprune.search.base import Problem
from deprune.search.fast_block_select import MutualInformation
from deprune.search.greedy import Greedy
from deprune.search.shortgpt import BlockInfluence
from tests.conftest import FAMILIES, Command, user_environment
from tests.test_conf import OPTIONS, parsed

SMALL = ["tracking=none", "eval.limit=5", "eval.windows=1", "calib.n_samples=4", "calib.seq_len=32"]
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9"}

PUBLISHED = {
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "openai-community/gpt2": 124_439_808,
    "EleutherAI/pythia-160m": 162_322_944,
}
"""Numbers of parameters as published, tied ones counted once."""


H100 = {
    "name": "one", "half_flops": 1e15, "float_flops": 1e14, "bandwidth": 1e12, "memory": 8e10, "price": 3.0,
}  # fmt: skip


def planned(*overrides: str) -> list[PlannedJob]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return jobs_of(compose("plan", list(overrides), return_hydra_config=True))


def test_known_models_have_their_published_sizes() -> None:
    assert set(known()["models"]) == set(PUBLISHED)
    for path, n_parameters in PUBLISHED.items():
        assert architecture_of(ModelConfig(path=path)).parameters == n_parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_that_torch_counts(family: str, embedded: Callable[[str], LoadedModel]) -> None:
    """On a short sequence, where it matters little that torch counts what a causal mask hides."""
    stack, of = embedded(family).stack, architecture_of(ModelConfig(path=f"deprune:{family}"))
    inputs = stack.embed(torch.zeros(1, 16, dtype=torch.long))
    with FlopCounterMode(display=False) as block:
        hidden_BTD = stack.run_block(0, inputs.hidden_BTD, inputs)
    with FlopCounterMode(display=False) as head:
        stack.logits(hidden_BTD)
    assert of.block_flops(16) == pytest.approx(block.get_total_flops(), rel=0.05)
    assert of.head_flops(16) == head.get_total_flops()
    assert of.parameters == stack.model.num_parameters()


@pytest.mark.slow
def test_a_device_takes_the_time_of_its_operations(run_here: Command) -> None:
    """Half the rate, where operations and nothing else decide: twice the time of searching."""
    times = []
    for rate in ("400e12", "200e12"):
        grid = ["model=llama3_8b", "calib=c4", "search=greedy", "budget=7", "eval=none"]
        result = run_here("plan", "-m", *grid, f"hardware.half_flops={rate}")
        found = re.search(r"searching ([\d.]+) min", result.out)
        assert found is not None, result.out
        assert "models to score: 0." in result.out
        times.append(float(found[1]))
    evaluations, block_calls = 203, 2_900 * 64  # greedy with 7 of 32 blocks; about what sharing leaves
    flops = block_calls * 2048 * 2 * 218e6 + evaluations * 64 * 2048 * 2 * 4096 * 128_256
    assert times[1] == pytest.approx(2 * times[0], rel=0.01)
    assert 60 * times[0] == pytest.approx(flops / 200e12, rel=0.2)


def test_every_model_of_the_project_can_be_planned_without_a_network() -> None:
    for group, option in OPTIONS:
        if group == "model" and option != "hub":
            config = parsed(f"model={option}").model
            assert not config.on_hub or config.path in PUBLISHED


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_composed"), [("study", 27), ("mini_items", 20)])
def test_jobs_are_those_of_hydra(name: str, n_composed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each level of a part is composed once, for each calibration set that changes other parts."""
    composed: list[list[str]] = []
    monkeypatch.setattr(
        "deprune.planning.jobs.compose", lambda name, overrides: composed.append(overrides) or compose(name, overrides)
    )
    jobs = planned(f"+experiment={name}")
    assert len(composed) == n_composed
    rng = np.random.default_rng(0)
    for index in rng.choice(len(jobs), size=6, replace=False):
        job = jobs[index]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            expected = parse(compose("config", job.overrides.split(" ")))
        assert (job.config, job.fault) == (expected, None)


@pytest.mark.slow
def test_levels_of_groups_that_change_others_and_values_that_only_some_options_have(
    run_here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objective follows the calibration; a key of one search alone is a fault of the others."""
    found: list[PlannedJob] = []
    monkeypatch.setattr("deprune.plan.jobs_of", lambda *args: found.extend(jobs_of(*args)) or found)
    grid = ["calib=narratives,mini_items", "search=greedy,beam", "search.width=2,3", "model=tiny_neox,tiny_llama"]
    assert run_here("plan", "-m", *grid, *SMALL).code == 1
    assert len(found) == 16
    assert found[0].overrides.startswith("model=tiny_neox calib=narratives"), "not in the order of the sweep"
    for job in found:
        if "search=greedy" in job.overrides:
            assert job.fault is not None
            assert "search.width" in job.fault
        else:
            assert isinstance(job.config, RunConfig)
            assert job.config.objective.needs_items == ("mini_items" in job.overrides)
            assert f"width={job.config.search.width}" in job.overrides  # type: ignore[attr-defined]
            assert f"model={job.config.model.label}" in job.overrides


@pytest.mark.slow
def test_a_search_of_ones_own_is_planned(run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "search").mkdir(parents=True)
    (tmp_path / "mine" / "search" / "mine.yaml").write_text(
        "_target_: deprune.search.random.Random\nprotect_first: 0\nprotect_last: 0\n"
    )
    result = run_here("plan", "-m", f"hydra.searchpath=[file://{tmp_path}/mine]", "search=mine,greedy", *SMALL)
    assert result.code == 0, result.out
    assert "Jobs: 2; 0 done already, 0 that cannot be, 2 to run." in result.out


def batches(seed: int, n_blocks: int, n_samples: int) -> Iterator[tuple[list[BlockSubset], int | None]]:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        spaces = [SearchSpace(n_blocks, int(k)) for k in rng.integers(0, n_blocks, size=8)]
        yield [s.sample(rng) for s in spaces], (None, 1, n_samples // 2, n_samples - 1)[rng.integers(4)]


def counter_of(
    stack: CountingStack, config: EvaluatorConfig, store: EvaluationStore | None = None
) -> CountingEvaluator:
    return CountingEvaluator(stack, NegativeLogLikelihood(), config, store or EvaluationStore(None))


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_the_evaluator(seed: int, sharing: bool) -> None:
    """Random batches of subsets on random numbers of samples, through the real evaluator and a rehearsal."""
    n_blocks, n_samples, batch_size = 5, 7, 3
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=n_blocks, num_attention_heads=2
    )
    ids_RT = torch.randint(0, 16, (n_samples, 4))
    evaluator = SubsetEvaluator(
        [BlockStack(LlamaForCausalLM(config))],
        CalibrationSet(ids_RT, "", ""),
        NegativeLogLikelihood(),
        EvaluatorConfig(batch_size=batch_size, sharing=sharing),
        EvaluationStore(None),
    )
    config = EvaluatorConfig(batch_size=batch_size, sharing=sharing)
    counting = counter_of(CountingStack(n_blocks, n_samples, "a", "b"), config)
    for subsets, n in batches(seed, n_blocks, n_samples):
        evaluator.losses(subsets, n)
        counting.losses(subsets, n)
    for statistic in (BlockInfluence(), MutualInformation(), BlockInfluence()):
        evaluator.statistic(statistic)
        assert np.isfinite(counting.statistic(statistic)).all()
    for name, value in vars(evaluator.counter).items():
        assert getattr(counting.work, name) == value, name
    assert sharing == (counting.work.block_calls < counting.work.block_calls_alone)


def test_counts_of_an_objective_that_needs_the_dense_model_are_those_of_the_evaluator(
    embedded: Callable[[str], LoadedModel],
) -> None:
    stack, ids_RT = embedded("tiny_llama").stack, torch.arange(5)[:, None].expand(5, 8).contiguous()
    config = EvaluatorConfig(batch_size=2)
    evaluators = (
        SubsetEvaluator([stack], CalibrationSet(ids_RT, "", ""), KullbackLeibler(), config, EvaluationStore(None)),
        CountingEvaluator(CountingStack(12, 5, "a", "b"), KullbackLeibler(), config, EvaluationStore(None)),
    )
    counted = []
    for evaluator in evaluators:
        Greedy().run(Problem(SearchSpace(12, 2), evaluator), np.random.default_rng(0))
        evaluator.losses([BlockSubset(12)])
        counted.append((evaluator.counter.computed, evaluator.counter.sample_evaluations))
    assert counted[0] == counted[1] == (24, 24 * 5)


def test_few_samples_of_a_draw_are_found_among_many_and_those_of_another_are_not() -> None:
    store, subsets = EvaluationStore(None), [*SearchSpace(6, 2).subsets()]
    losses = {}
    for draw, n_samples in (("a", 16), ("a", 8), ("b", 8)):
        stack = CountingStack(6, n_samples, "model", draw)
        evaluator = counter_of(stack, EvaluatorConfig(batch_size=4), store)
        losses[draw, n_samples] = evaluator.losses(subsets)
        assert evaluator.work.computed == (0 if (draw, n_samples) == ("a", 8) else 15)
    stack = CountingStack(6, 8, "model", "a")
    alone = counter_of(stack, EvaluatorConfig(batch_size=4))
    assert alone.losses(subsets) == losses["a", 8] != losses["b", 8]


@pytest.mark.parametrize("option", [o for g, o in OPTIONS if g == "search"])
def test_a_rehearsal_asks_for_as_much_as_the_search_does(option: str) -> None:
    search = parsed(f"search={option}").search
    asked = []
    for run in (search.run, search.rehearse):
        source = counter_of(CountingStack(10, 4, "a", "b"), EvaluatorConfig(batch_size=4))
        result = run(Problem(SearchSpace(10, 3), source), np.random.default_rng(0))
        assert result.subset in SearchSpace(10, 3)
        asked.append((source.work.computed, source.work.block_calls))
    assert asked[1] == pytest.approx(asked[0], rel=0.15)


@pytest.mark.parametrize("search", ["oneshot", "exhaustive", "cbo", "last", "shortgpt"])
def test_a_forecast_is_what_the_job_then_does(search: str, sweep_here: Command, tmp_path: Path) -> None:
    """For searches whose number of questions does not depend on the answers, to the last block call."""
    grid = [f"search={search}", "budget=2", "calib=facts", "evaluator.batch_size=3", *SMALL, "eval=none"]
    (job,) = planned(*grid)
    assert job.config is not None
    forecast = Forecast(Hardware(**H100), [job])
    assert sweep_here(*grid).code == 0
    (path,) = tmp_path.rglob("record.json")
    measured = read_record(path).cost.evaluations
    foretold = vars(forecast.work[search])
    shared = set(measured) & set(foretold)
    assert {"requested", "computed", "sample_evaluations", "block_calls"} <= shared
    for name in shared:
        assert foretold[name] == measured[name], name


def output_and_libraries_of(command: Sequence[str], folder: Path) -> tuple[str, set[str]]:
    code = f"""
import sys
from deprune.plan import main
sys.argv = ["plan", {", ".join(map(repr, command))}]
try:
    main()
finally:
    print("MODULES", *sys.modules)
"""
    words = [sys.executable, "-c", code]
    environment = user_environment(folder / "home") | NOWHERE
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert "one job after the other" in done.stdout
    said, _, loaded = done.stdout.partition("MODULES")
    return said, {*loaded.split()}


def assert_no_code_of_models_tasks_or_data_sets(loaded: set[str]) -> None:
    assert not {"lm_eval", "datasets", "transformers.modeling_utils"} & loaded
    assert not {name for name in loaded if re.match(r"transformers\.models\..*\.modeling_(?!auto)", name)}


@pytest.mark.slow
def test_planning_imports_no_code_of_models_tasks_or_data_sets(tmp_path: Path) -> None:
    grid = ["-m", "calib=narratives,mini_items", "search=greedy,shortgpt", "eval=mini", *SMALL]
    _, loaded = output_and_libraries_of(grid, tmp_path)
    assert_no_code_of_models_tasks_or_data_sets(loaded)


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_of_stored_weights_are_those_of_the_code(name: str, tmp_path: Path) -> None:
    config = ModelConfig(path=f"deprune:{name}")
    bare = tmp_path / name
    bare.mkdir()
    (bare / "config.json").write_bytes((Path(config.source) / "config.json").read_bytes())
    stored, built = architecture_of(config), architecture_of(ModelConfig(path=str(bare)))
    assert dataclasses.replace(stored, facts=built.facts) == built


@pytest.mark.slow
def test_plan_says_what_is_done_and_leaves_nothing(run_here: Command, tmp_path: Path) -> None:
    grid = ["-m", "search=oneshot,greedy", "budget=2", *SMALL]
    before = run_here("plan", *grid)
    assert before.code == 0, before.err
    assert "Jobs: 2; 0 done already, 0 that cannot be, 2 to run." in before.out
    assert "(from its folder)" in before.out
    assert not list(tmp_path.rglob("*.*"))
    assert run_here("sweep", "search=oneshot", "budget=2", *SMALL).code == 0
    files = sorted(tmp_path.rglob("*"))
    after = run_here("plan", *grid, "search=oneshot,greedy")
    assert "Jobs: 2; 1 done already, 0 that cannot be, 1 to run." in after.out
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.slow
def test_what_cannot_be_is_listed_before_anything_is_spent(run_here: Command) -> None:
    result = run_here("plan", "-m", "budget=1,12", "search=greedy,exhaustive", "search.protect_last=0", *SMALL)
    assert result.code == 1
    assert "Jobs: 4; 0 done already, 2 that cannot be, 2 to run." in result.out
    assert result.out.count("The budget of 12 blocks does not fit a model of 12 blocks; give 0 to 11.") == 1
    assert "budget=12" in result.out
    for mistake in ("calib.n_sample=3", "hardware=abacus", "hardware.memory=0"):
        result = run_here("plan", "-m", mistake)
        assert (result.code, len(result.err.strip().splitlines())) == (1, 1), result.err
        assert result.err.startswith("Error: ")


@pytest.mark.slow
def test_the_study_without_a_network(tmp_path: Path) -> None:
    said, loaded = output_and_libraries_of(["-m", "+experiment=study"], tmp_path)
    assert_no_code_of_models_tasks_or_data_sets(loaded)
    assert "Jobs: 84; 0 done already, 0 that cannot be, 84 to run." in said
    assert "qwen3_8b: 36 blocks of width 4096, 8,191 million parameters (from the project's table of" in said
    assert re.search(r"On one NVIDIA H100 SXM, one job after the other: [\d.]+ h, [\d.]+ USD at 3.00 an hour", said)
    assert not list(tmp_path.rglob("results"))


@pytest.mark.slow
def test_a_calibrated_forecast_is_made_of_the_times_of_the_models(
    sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a block takes a second for each sample, searching takes as long as it does in the sweep."""
    seconds, run_block = 0, BlockStack.run_block

    def timed(stack: BlockStack, index: int, hidden_BTD: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        nonlocal seconds
        seconds += len(hidden_BTD)
        return run_block(stack, index, hidden_BTD, inputs)

    grid = ["budget=2", "calib=narratives", *SMALL, "evaluator.batch_size=2"]
    jobs = [job for search in ("oneshot", "exhaustive") for job in planned(*grid, f"search={search}")]
    with monkeypatch.context() as patched:
        patched.setattr(BlockStack, "run_block", timed)
        patched.setattr("deprune.planning.timing.time", SimpleNamespace(perf_counter=lambda: seconds))
        foretold = {search: work.seconds for search, work in Forecast(ThisMachine(), jobs).work.items()}
    assert sweep_here("-m", *grid, "search=oneshot,exhaustive").code == 0
    measured = dict.fromkeys(foretold, 0)
    for path in tmp_path.rglob("record.json"):
        record = read_record(path)
        measured[record.factors.search] += record.cost.evaluations["block_calls"]
    assert foretold == measured
    assert min(measured.values()) > 0


@pytest.mark.slow
def test_a_calibrated_plan_says_what_this_machine_takes(sweep: Command) -> None:
    result = sweep("-m", "search=greedy,ga", "budget=3", "calib=narratives", *SMALL, "calibrate=true", command="plan")
    assert result.code == 0, result.err
    assert re.search(r"On this machine, one job after the other: [\d.]+ (s|min)\b", result.out)
