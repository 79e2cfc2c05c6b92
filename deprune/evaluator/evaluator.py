"""Losses of subsets of blocks on one calibration set.

A search asks for the losses of a batch of subsets and never sees the model; this module
never sees the search. Every loss of every sample is computed once, by whatever job comes first.
"""

from __future__ import annotations

import functools
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import NoReturn, TypeAlias

import numpy as np
from torch import Tensor
from tqdm import tqdm

from deprune.core.errors import DepruneError
from deprune.core.fingerprint import digest_of
from deprune.core.subset import BlockSubset
from deprune.data.samples import CalibrationSet, SampleBatch
from deprune.evaluator.base import Evaluation, EvaluationCounter, EvaluatorConfig
from deprune.evaluator.device_memory import fitting_batch_size, free_memory, is_out_of_memory
from deprune.evaluator.racing import race
from deprune.evaluator.trie import count_prefixes, walk
from deprune.model.blocks import Stack
from deprune.objective.base import Objective
from deprune.record.evaluations import EvaluationStore
from deprune.search.base import Floats, Statistic

log = logging.getLogger(__name__)

Bar: TypeAlias = "tqdm[NoReturn]"
Missing = dict[BlockSubset, list[int]]
"""The samples that are not known yet of each subset, in order."""


@dataclass(frozen=True)
class DenseStates:
    """The `HiddenStates` of a model on one batch; `count_block` is called before each block."""

    stack: Stack
    batch: SampleBatch
    count_block: Callable[[], None]

    def real_tokens(self) -> Tensor:
        """Returns which tokens are no filling, bool `(R, T)`."""
        return self.batch.real_tokens()

    def last_tokens(self) -> Tensor:
        """Returns the index of the last token of each sample's text among all tokens, int64 `(B,)`."""
        return self.batch.last_tokens()

    def __iter__(self) -> Iterator[Tensor]:
        inputs = self.stack.embed(self.batch.ids_RT, **self.batch.model_inputs(self.stack.model.dtype))
        hidden_RTD = inputs.hidden_BTD
        yield hidden_RTD
        for block in range(self.stack.n_blocks):
            self.count_block()
            hidden_RTD = self.stack.run_block(block, hidden_RTD, inputs)
            yield hidden_RTD


class SubsetEvaluator:
    """Evaluates subsets of one model on one calibration set; the `LossSource` of searches.

    Each sample has a fixed row in a fixed batch, and every batch has the same number of rows,
    so that its loss is the same to the bit whichever samples are computed beside it: n = 16
    read off n = 64 is what n = 16 alone gives. Kernels may round differently for another number of
    rows, so that number is part of the key under which a loss is stored.

    Args:
        stacks: The model, once for every device that it is on; batches are shared out among them.
        calibration: The samples.
        objective: What is evaluated.
        config: How.
        store: Where losses are remembered.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        calibration: CalibrationSet,
        objective: Objective,
        config: EvaluatorConfig,
        store: EvaluationStore,
    ) -> None:
        self._stacks, self._calibration, self._objective = stacks, calibration, objective
        self._config, self._store = config, store
        self._sample_keys = calibration.sample_keys()
        self._dense_states: dict[int, Tensor] = {}
        self._lock = Lock()
        self.n_samples = calibration.n_samples
        self.counter = EvaluationCounter()
        self._set_batch_size(config.batch_size or self._fitting_batch_size())

    def name_samples(self) -> str:
        """Gives the calibration samples their name in the store, also where all is remembered, and returns it."""
        self._store.announce(self._keys)
        return digest_of(self._keys)

    def evaluate(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[Evaluation]:
        """Returns the evaluations of subsets on the first samples, by default on all; repeated ones cost nothing.

        Raises:
            DepruneError: The memory is too small for a single sample.
        """
        n = n_samples or self.n_samples
        self._store.refresh()
        distinct = list(dict.fromkeys(subsets))
        missing = self._missing(distinct, n)
        self.counter.requested += len(subsets)
        self.counter.computed += len(missing)
        self.counter.remembered += len(subsets) - len(missing)
        while missing:
            try:
                self._compute(missing)
            except (RuntimeError, MemoryError) as error:
                self._halve_batch_size(error)
            missing = self._missing(distinct, n)
        return [self._read(s, n) for s in subsets]

    def losses(self, subsets: Sequence[BlockSubset], n_samples: int | None = None) -> list[float]:
        """Returns the losses of subsets on the first samples, by default on all of them."""
        return [evaluation.loss for evaluation in self.evaluate(subsets, n_samples)]

    def contenders(self, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns the subsets that may still be the best: all, unless racing drops some."""
        if not self._config.racing:
            return list(subsets)
        return race(self.evaluate, subsets, self.n_samples, self._batch_size, self._config.racing_error)

    def statistic(self, statistic: Statistic) -> Floats:
        """Returns a statistic of the dense model's hidden states, from the store where it is there."""
        key, stack = f"{statistic.key()} {digest_of(self._keys)}", self._stacks[0]
        known = self._store.statistic(key)
        if known is None:
            states = []
            for first in self._firsts():
                size = min(self._batch_size, self.n_samples - first)  # without filling
                batch = self._calibration.batch(first, size, stack.model.device)
                states.append(DenseStates(stack, batch, functools.partial(self._count_block, size)))
            known = statistic.measure(states).tolist()
            self._store.put_statistic(key, known)
        return np.array(known)

    def _firsts(self) -> range:
        """Returns the first sample of each batch."""
        return range(0, self.n_samples, self._batch_size)

    def _fitting_batch_size(self) -> int:
        n_tokens = self._calibration.ids_RT.shape[1] * self._calibration.rows_per_sample
        return min(fitting_batch_size(s, n_tokens, free_memory(s.model.device)) for s in self._stacks)

    def _set_batch_size(self, size: int) -> None:
        self._batch_size = size
        self._keys = [f"{key}/{size}" for key in self._sample_keys]
        self._dense_states.clear()

    def _halve_batch_size(self, error: BaseException) -> None:
        """Makes batches smaller after an out-of-memory error, and raises any other."""
        if not is_out_of_memory(error):
            raise error
        if self._batch_size == 1:
            raise DepruneError(
                f"The memory of {self._stacks[0].model.device} is too small for one calibration sample of "
                f"{self._calibration.ids_RT.shape[1]} tokens; lower calib.seq_len, or use a smaller dtype or "
                "model.device_map=auto."
            ) from error
        log.warning("Out of memory with %d samples at once; going on with %d.", self._batch_size, self._batch_size // 2)
        self._set_batch_size(self._batch_size // 2)

    def _missing(self, subsets: Sequence[BlockSubset], n_samples: int) -> Missing:
        """Returns the subsets of which not all is known, with the samples that are missing, in order."""
        keys, missing = self._keys[:n_samples], {}
        for subset in subsets:
            known = self._store.get(subset.bits())
            if rows := [row for row, key in enumerate(keys) if key not in known]:
                missing[subset] = rows
        return missing

    def _read(self, subset: BlockSubset, n_samples: int) -> Evaluation:
        known = self._store.get(subset.bits())
        sums, counts = zip(*(known[key] for key in self._keys[:n_samples]), strict=True)
        return Evaluation(subset, sums, counts)

    def _compute(self, missing: Missing) -> None:
        """Computes and stores, batch by batch, the samples that are missing of each subset."""
        size = self._batch_size
        batches = {first: [s for s, rows in missing.items() if _within(rows, first, size)] for first in self._firsts()}
        groups = [(first, group) for first, wanted in batches.items() for group in self._groups(wanted)]
        total = sum(n * count_prefixes(group) for group, n in Counter(tuple(group) for _, group in groups).items())
        with tqdm(total=total, desc="evaluating subsets", unit="block", leave=False, delay=1) as bar:

            def work(index: int) -> None:
                for first, group in groups[index :: len(self._stacks)]:
                    self._run(self._stacks[index], first, group, missing, bar)

            if len(self._stacks) == 1:
                return work(0)
            with ThreadPoolExecutor(len(self._stacks)) as pool:
                list(pool.map(work, range(len(self._stacks))))

    def _groups(self, subsets: list[BlockSubset]) -> list[list[BlockSubset]]:
        return [subsets] if self._config.sharing and subsets else [[s] for s in subsets]

    def _run(self, stack: Stack, first: int, subsets: list[BlockSubset], missing: Missing, bar: Bar) -> None:
        """Runs the batch that starts at a sample through subsets, and stores the losses that are missing."""
        size = self._batch_size
        batch = self._calibration.batch(first, size, stack.model.device)
        dense_RTD = self._dense_state(stack, first, batch) if self._objective.needs_dense else None
        for subset, hidden_RTD in self._walk(stack, first, batch, subsets, bar):
            score = self._objective.score(stack, hidden_RTD, batch, dense_RTD)
            rows = _within(missing[subset], first, size)
            scored = score.sums_B.tolist(), score.counts_B.tolist()
            sums, counts = ([values[row - first] for row in rows] for values in scored)
            with self._lock:
                self.counter.sample_evaluations += len(rows)
                self._store.put(subset.bits(), [self._keys[row] for row in rows], sums, counts)

    def _walk(
        self, stack: Stack, first: int, batch: SampleBatch, subsets: list[BlockSubset], bar: Bar | None = None
    ) -> Iterator[tuple[BlockSubset, Tensor]]:
        """Yields subsets with the hidden states of a batch after their last blocks, and counts block calls."""
        n_samples = min(self._batch_size, self.n_samples - first)
        inputs = stack.embed(batch.ids_RT, **batch.model_inputs(stack.model.dtype))

        def run_block(block: int, hidden_RTD: Tensor) -> Tensor:
            self._count_block(n_samples, bar)
            return stack.run_block(block, hidden_RTD, inputs)

        yield from walk(inputs.hidden_BTD, subsets, run_block)

    def _count_block(self, n_samples: int, bar: Bar | None = None) -> None:
        with self._lock:
            self.counter.block_calls += n_samples
            if bar is not None:
                bar.update()

    def _dense_state(self, stack: Stack, first: int, batch: SampleBatch) -> Tensor:
        """Returns the dense model's last hidden state of a batch, which is kept in main memory."""
        if first not in self._dense_states:
            ((_, hidden_RTD),) = self._walk(stack, first, batch, [BlockSubset(stack.n_blocks)])
            self._dense_states[first] = hidden_RTD.cpu()
        return self._dense_states[first].to(stack.model.device)


def _within(rows: list[int], first: int, size: int) -> list[int]:
    """Returns those of some samples, in order, that are in the batch that starts at a sample."""
    return rows[bisect_left(rows, first) : bisect_left(rows, first + size)]
