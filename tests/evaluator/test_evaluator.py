"""The evaluator gives the losses of physically pruned models, by sample, and each once."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.samples import CalibrationSet
from deprune.evaluator.base import Evaluation, EvaluatorConfig
from deprune.evaluator.evaluator import SubsetEvaluator
from deprune.evaluator.trie import count_prefixes, walk
from deprune.model.blocks import BlockStack
from deprune.model.prune import prune_blocks
from deprune.objective import base as objective
from deprune.objective.nll import NegativeLogLikelihood
from deprune.record.evaluations import EvaluationStore
from tests.model.architectures import ARCHITECTURES, N_BLOCKS, VOCAB, make_model

IDS = torch.randint(1, VOCAB, (11, 12), generator=torch.Generator().manual_seed(3))
SUBSETS = [BlockSubset.of(N_BLOCKS, r) for r in ([], [0], [1, 2], [0, 3], [0, 1, 2])]


def make_evaluator(
    folder: Path, name: str = "llama", n: int = 5, size: int = 4, sharing: bool = True
) -> SubsetEvaluator:
    return SubsetEvaluator(
        [BlockStack(make_model(name))],
        CalibrationSet(IDS[:n], "sample", "tokens"),
        NegativeLogLikelihood(),
        EvaluatorConfig(batch_size=size, sharing=sharing),
        EvaluationStore(folder),
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mixtral"])
def test_losses_are_those_of_pruned_models(name: str, tmp_path: Path) -> None:
    for evaluation in make_evaluator(tmp_path, name).evaluate(SUBSETS):
        model = copy.deepcopy(make_model(name))
        prune_blocks(model, evaluation.subset)
        with torch.inference_mode():
            logits = model(IDS[:5], use_cache=False).logits[:, :-1]
        log_likelihoods = functional.log_softmax(logits, dim=-1).gather(2, IDS[:5, 1:, None])[..., 0]
        assert evaluation.sums == pytest.approx((-log_likelihoods.sum(dim=1)).tolist(), abs=1e-4)
        assert evaluation.counts == (11.0,) * 5
        assert evaluation.loss == pytest.approx(-log_likelihoods.mean().item(), abs=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sharing_changes_no_bit_and_runs_each_prefix_once(name: str, tmp_path: Path) -> None:
    subsets = [BlockSubset.of(N_BLOCKS, r) for k in range(N_BLOCKS) for r in itertools.combinations(range(N_BLOCKS), k)]
    shared, alone = (make_evaluator(tmp_path / str(s), name, sharing=s) for s in (True, False))
    assert shared.evaluate(subsets) == alone.evaluate(subsets)
    assert alone.counter.block_calls == 5 * sum(len(s.kept) for s in subsets)
    assert shared.counter.block_calls == 5 * count_prefixes(subsets)


def test_few_samples_are_read_off_many_and_many_compute_only_new_ones(tmp_path: Path) -> None:
    few = make_evaluator(tmp_path / "few", n=3).evaluate(SUBSETS)
    many = make_evaluator(tmp_path / "many", n=11)
    whole = many.evaluate(SUBSETS)
    assert [e.sums[:3] for e in whole] == [e.sums for e in few]
    reader = make_evaluator(tmp_path / "many", n=3)
    assert reader.evaluate(SUBSETS) == few
    assert (reader.counter.remembered, reader.counter.computed, reader.counter.block_calls) == (5, 0, 0)
    grown = make_evaluator(tmp_path / "few", n=11)
    assert grown.evaluate(SUBSETS) == whole
    assert grown.counter.sample_evaluations == 5 * (11 - 3)


def test_chunked_logits_change_rounding_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_evaluator(tmp_path / "whole").evaluate(SUBSETS)
    monkeypatch.setattr(objective, "MAX_LOGITS", 4 * VOCAB * 3)  # three positions at a time
    for a, b in zip(whole, make_evaluator(tmp_path / "chunks").evaluate(SUBSETS), strict=True):
        assert a.sums == pytest.approx(b.sums, abs=1e-4)


def test_each_loss_is_computed_once_and_counted(tmp_path: Path) -> None:
    evaluator = make_evaluator(tmp_path)
    first = evaluator.evaluate([SUBSETS[1], SUBSETS[2], SUBSETS[1]])
    again = evaluator.evaluate([SUBSETS[2], SUBSETS[3]])
    assert first[0] == first[2]
    assert again[0] == first[1]
    counter = evaluator.counter
    assert (counter.requested, counter.remembered, counter.computed) == (5, 2, 3)
    assert counter.sample_evaluations == 3 * 5


def test_standard_error_is_that_of_a_mean_for_equal_counts() -> None:
    sums = (1.0, 3.0, 2.0, 6.0)
    evaluation = Evaluation(SUBSETS[0], sums, (2.0,) * 4)
    means = torch.tensor(sums) / 2
    assert evaluation.stderr == pytest.approx(float(means.std() / 2))
    assert Evaluation(SUBSETS[0], (1.0,), (2.0,)).stderr is None


def test_a_loss_that_is_no_number_is_infinite() -> None:
    assert math.isinf(Evaluation(SUBSETS[0], (math.nan, 1.0), (1.0, 1.0)).loss)


@given(st.sets(st.frozensets(st.integers(0, 8)), min_size=1, max_size=25))
def test_walk_reaches_every_subset_once_and_holds_only_a_path(removed: set[frozenset[int]]) -> None:
    """The hidden state is the list of blocks that were run, and the number alive is counted."""
    subsets = [BlockSubset.of(9, r) for r in removed]
    calls = 0

    def run_block(block: int, hidden: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.cat([hidden, torch.tensor([block])])

    reached = {s: tuple(h.tolist()) for s, h in walk(torch.tensor([], dtype=torch.long), subsets, run_block)}
    assert reached == {s: s.kept for s in subsets}
    assert calls == count_prefixes(subsets)


def test_counts_of_block_calls_at_32_blocks() -> None:
    """Greedy with k = 7 takes 5,712 block calls a sample alone and 3,052 shared, in whatever order blocks go."""
    for order in ((25, 26, 24, 27, 23, 22, 28), (0, 1, 2, 3, 4, 5, 6)):
        rounds = [
            [BlockSubset.of(32, (*order[:i], b)) for b in range(32) if b not in order[:i]] for i in range(len(order))
        ]
        assert sum(len(s.kept) for candidates in rounds for s in candidates) == 5712
        assert sum(map(count_prefixes, rounds)) == 3052
    pairs = list(SearchSpace(32, 2).subsets())
    assert (sum(len(s.kept) for s in pairs), count_prefixes(pairs)) == (14880, 5455)


def test_every_batch_has_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes few samples equal to many to the bit, where kernels depend on the shape."""
    shapes: list[tuple[int, ...]] = []
    embed = BlockStack.embed
    monkeypatch.setattr(BlockStack, "embed", lambda self, ids_BT: (shapes.append(ids_BT.shape), embed(self, ids_BT))[1])
    evaluator = make_evaluator(tmp_path, n=6, size=4)
    shapes.clear()  # the probe of the stack
    evaluator.evaluate(SUBSETS)
    assert shapes == [(4, 12), (4, 12)]
