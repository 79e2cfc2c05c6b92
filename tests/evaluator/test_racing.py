"""Racing drops only what is worse with confidence, and finds what the whole set would have found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import EmbeddedCorpus
from deprune.data.corpus import CalibConfig
from deprune.data.draw import draw_windows
from deprune.evaluator.base import Evaluation, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.racing import is_worse, race, stages
from deprune.model.load import LoadedModel
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Problem
from deprune.search.greedy import Greedy
from tests.conftest import ROOT

N_SAMPLES, FIRST = 64, 8
CANDIDATES = [BlockSubset.of(12, [b]) for b in range(12)]


def evaluate_on(losses: np.ndarray) -> Callable[[Sequence[BlockSubset], int], list[Evaluation]]:
    """Evaluations from a table of losses, candidates × samples."""
    return lambda subsets, n: [Evaluation(s, tuple(losses[s.removed[0], :n].tolist()), (1.0,) * n) for s in subsets]


def test_stages_double_and_end_before_the_whole_set() -> None:
    assert list(stages(64, 8)) == [8, 16, 32]
    assert list(stages(16, 16)) == []


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.3])
def test_the_best_is_dropped_no_more_often_than_promised(spread: float) -> None:
    """With equal candidates (spread 0) every one is near the best on the whole set: the hardest case."""
    rng, error, lost = np.random.default_rng(5), 0.2, 0
    for _ in range(400):
        common = rng.normal(3, 1, N_SAMPLES)
        losses = common + rng.normal(0, spread, (12, 1)) + rng.normal(0, 0.3, (12, N_SAMPLES))
        best = int(losses.mean(axis=1).argmin())
        lost += CANDIDATES[best] not in race(evaluate_on(losses), CANDIDATES, N_SAMPLES, FIRST, error)
    assert lost <= error * 400


def test_what_is_clearly_worse_is_dropped_at_the_first_stage() -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(3, 1, N_SAMPLES) + np.arange(12)[:, None] + rng.normal(0, 0.1, (12, N_SAMPLES))
    asked: list[tuple[int, int]] = []

    def evaluate(subsets: Sequence[BlockSubset], n: int) -> list[Evaluation]:
        asked.append((len(subsets), n))
        return evaluate_on(losses)(subsets, n)

    assert race(evaluate, CANDIDATES, N_SAMPLES, FIRST, 0.05) == [CANDIDATES[0]]
    assert asked == [(12, FIRST)]


def test_no_doubt_is_left_when_all_samples_are_seen() -> None:
    a = Evaluation(CANDIDATES[0], (1.0, 2.0, 3.0), (1.0,) * 3)
    b = Evaluation(CANDIDATES[1], (9.0, 1.0, -3.0), (1.0,) * 3)
    assert is_worse(b, a, n_samples=3, level=1e-6) is (b.loss > a.loss)
    assert not is_worse(a, a, n_samples=3, level=0.4)


def test_a_loss_that_is_no_number_loses() -> None:
    broken = Evaluation(CANDIDATES[1], (np.nan, 1.0), (1.0, 1.0))
    whole = Evaluation(CANDIDATES[0], (5.0, 9.0), (1.0, 1.0))
    assert is_worse(broken, whole, n_samples=8, level=0.01)
    assert not is_worse(broken, broken, n_samples=8, level=0.01)


@pytest.mark.slow
def test_greedy_finds_the_same_with_a_third_of_the_work(embedded: Callable[[str], LoadedModel], tmp_path: Path) -> None:
    """Twenty seeds on all families are in experiments/benchmarks/racing.csv."""
    loaded, work = embedded("tiny_qwen3"), {False: 0, True: 0}
    for seed in range(2):
        corpus = EmbeddedCorpus(corpus="mixture")
        calib = CalibConfig(name="mixture", corpus=corpus, n_samples=512, seq_len=64, seed=seed)
        calibration = draw_windows(calib, 64, loaded.tokenizer, "tiny_qwen3")
        found = []
        store = EvaluationStore(None)  # what racing has computed is not computed again
        for racing in (True, False):
            config = EvaluatorConfig(batch_size=16, racing=racing)
            evaluator = SubsetEvaluator(loaded.stacks, calibration, NegativeLogLikelihood(), config, store)
            found.append(Greedy().run(Problem(SearchSpace(12, 2), evaluator), np.random.default_rng()).subset)
            work[racing] += evaluator.counter.sample_evaluations
        assert found[0] == found[1]
    assert work[True] <= (work[True] + work[False]) / 3


def test_the_published_comparison_keeps_the_promise() -> None:
    table = pd.read_csv(ROOT / "experiments" / "benchmarks" / "racing.csv", dtype={"exact": str, "racing": str})
    assert len(table) == 20
    assert (table.exact == table.racing).sum() >= 19
    assert table.racing_sample_evaluations.sum() <= table.exact_sample_evaluations.sum() / 3
