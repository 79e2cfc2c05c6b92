"""Losses of subsets of blocks on one calibration set.

A search asks for the losses of a batch of subsets and never sees the model; this module
never sees the search. Every loss of every sample is computed once, by whatever job comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from deprune.calib.base import CalibrationSet
from deprune.evaluator.base import Evaluation, EvaluationCounter, EvaluatorConfig
from deprune.evaluator.store import EvaluationStore
from deprune.evaluator.trie import count_prefixes, walk
from deprune.fingerprint import digest_of_bytes
from deprune.model.blocks import BlockStack
from deprune.objective.base import Objective
from deprune.subset import BlockSubset


class SubsetEvaluator:
    """Evaluates subsets of one model on one calibration set.

    Each sample has a fixed row in a fixed batch, and every batch has the same number of rows,
    so that its loss is the same to the bit whichever samples are computed beside it: n = 16
    read off n = 64 is what n = 16 alone gives.
    """

    def __init__(
        self,
        stack: BlockStack,
        calibration: CalibrationSet,
        objective: Objective,
        config: EvaluatorConfig,
        store: EvaluationStore,
    ) -> None:
        self._stack = stack
        self._objective = objective
        self._config = config
        self._store = store
        self._ids_BT = calibration.ids_BT
        self._keys = [digest_of_bytes([row.numpy().tobytes()]) for row in calibration.ids_BT]
        self.counter = EvaluationCounter()

    def evaluate(self, subsets: Sequence[BlockSubset]) -> list[Evaluation]:
        """Returns the evaluations of subsets, in the same order; repeated ones cost nothing."""
        self._store.refresh()
        distinct = list(dict.fromkeys(subsets))
        missing = {s: rows for s in distinct if (rows := self._missing_rows(s))}
        self.counter.requested += len(subsets)
        self.counter.computed += len(missing)
        self.counter.remembered += len(subsets) - len(missing)
        self._compute(missing)
        return [self._read(s) for s in subsets]

    def _missing_rows(self, subset: BlockSubset) -> list[int]:
        known = self._store.get(subset.bits())
        return [row for row, key in enumerate(self._keys) if key not in known]

    def _read(self, subset: BlockSubset) -> Evaluation:
        known = self._store.get(subset.bits())
        sums, counts = zip(*(known[key] for key in self._keys), strict=True)
        return Evaluation(subset, sums, counts)

    def _compute(self, missing: dict[BlockSubset, list[int]]) -> None:
        """Computes and stores, batch by batch, the samples that are missing of each subset."""
        size = self._config.batch_size
        batches = {
            first: [s for s, rows in missing.items() if any(first <= row < first + size for row in rows)]
            for first in range(0, len(self._keys), size)
        }
        groups = [(first, group) for first, wanted in batches.items() for group in self._groups(wanted)]
        total = sum(count_prefixes(group) for _, group in groups)
        with tqdm(total=total, desc="evaluating subsets", unit="block", leave=False, delay=1) as bar:
            for first, group in groups:
                for subset, hidden_BTD, ids_BT in self._run(first, group, bar):
                    rows = [row - first for row in missing[subset] if first <= row < first + size]
                    self._keep(subset, first, rows, hidden_BTD, ids_BT)

    def _groups(self, subsets: list[BlockSubset]) -> list[list[BlockSubset]]:
        return [subsets] if self._config.sharing and subsets else [[s] for s in subsets]

    def _run(
        self, first: int, subsets: list[BlockSubset], bar: tqdm[NoReturn]
    ) -> Iterator[tuple[BlockSubset, Tensor, Tensor]]:
        """Runs the batch that starts at a row through subsets; yields their last hidden states."""
        ids_BT = self._batch(first)
        n_samples = min(self._config.batch_size, len(self._keys) - first)
        inputs = self._stack.embed(ids_BT)

        def run_block(block: int, hidden_BTD: Tensor) -> Tensor:
            self.counter.block_calls += n_samples
            bar.update()
            return self._stack.run_block(block, hidden_BTD, inputs)

        for subset, hidden_BTD in walk(inputs.hidden_BTD, subsets, run_block):
            yield subset, hidden_BTD, ids_BT

    def _batch(self, first: int) -> Tensor:
        """Returns a batch of token ids; a last one that is short is filled up with its first row."""
        ids_BT = self._ids_BT[first : first + self._config.batch_size]
        filling = ids_BT[:1].expand(self._config.batch_size - len(ids_BT), -1)
        return torch.cat([ids_BT, filling]).to(self._stack.model.device)

    def _keep(self, subset: BlockSubset, first: int, rows: list[int], hidden_BTD: Tensor, ids_BT: Tensor) -> None:
        score = self._objective.score(self._stack, hidden_BTD, ids_BT)
        self.counter.sample_evaluations += len(rows)
        self._store.put(
            subset.bits(),
            [self._keys[first + row] for row in rows],
            score.sums_B[rows].tolist(),
            score.counts_B[rows].tolist(),
        )
