"""Racing: of many subsets, which may still be the best, judged on a part of the samples?

All subsets see the same samples, so a subset is compared with the leader by the differences of
their losses sample by sample. After each stage (one batch of samples, then two, four, …) a subset is
dropped when the mean difference is above the t quantile of its standard error. The set of all
samples is what counts, so the error carries the finite-population correction, and vanishes when
all of them are seen. Samples are in random order, which makes each stage a simple random sample.

The level of a single test is the error divided by the number of rivals and of stages (Bonferroni):
the best subset is then dropped with at most that probability, as far as the mean of the
differences on a batch is normal. It is a statistical promise, not an exact one.

Source: own, after Hoeffding races (Maron & Moore 1994) with the paired t test of F-Race (Birattari
et al. 2002).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deprune.core.subset import BlockSubset
from deprune.evaluator.base import Evaluation

Evaluate = Callable[[Sequence[BlockSubset], int], list[Evaluation]]
"""Gives the evaluations of subsets on the first n samples."""


def stages(n_samples: int, first: int) -> Iterator[int]:
    """Yields the numbers of samples after which subsets are dropped: `first`, doubled below `n_samples`."""
    n_seen = first
    while n_seen < n_samples:
        yield n_seen
        n_seen *= 2


def race(
    evaluate: Evaluate, subsets: Sequence[BlockSubset], n_samples: int, first: int, error: float
) -> list[BlockSubset]:
    """Returns the subsets that may be the best on all `n_samples`, in the same order.

    The first stage sees the `first` samples; the best is dropped with at most the probability `error`.
    """
    running = list(dict.fromkeys(subsets))
    n_tests = max(1, len(running) - 1) * max(1, len(list(stages(n_samples, first))))
    for n_seen in stages(n_samples, first):
        if len(running) == 1 or n_seen < 2:
            continue
        evaluations = evaluate(running, n_seen)
        leader = min(evaluations, key=lambda e: (e.loss, e.subset))
        running = [e.subset for e in evaluations if not is_worse(e, leader, n_samples, error / n_tests)]
    return running


def is_worse(candidate: Evaluation, leader: Evaluation, n_samples: int, level: float) -> bool:
    """Whether a candidate is worse than the leader on all samples, with confidence, on those seen."""
    from scipy import stats

    if math.isinf(candidate.loss):
        return math.isfinite(leader.loss)
    n_seen = len(candidate.sums)
    counts = np.asarray(candidate.counts)
    differences = np.asarray(candidate.sums) - np.asarray(leader.sums)
    mean = differences.sum() / counts.sum()
    residuals = differences - mean * counts
    variance = (residuals**2).sum() / (n_seen - 1) / n_seen * (1 - n_seen / n_samples)
    return bool(mean > stats.t.isf(level, n_seen - 1) * math.sqrt(variance) / counts.mean())
