"""EvoPress: one parent, many offspring, selection on growing parts of the calibration set."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset, draw_distinct
from deprune.search.base import Generator, Guarantee, Kind, Problem, Search, SearchResult
from deprune.search.oneshot import OneShot


@dataclass(frozen=True, kw_only=True)
class EvoPress(Search):
    """Lets the offspring of one subset compete, first on few samples and then with their parent on all.

    An offspring swaps blocks of the parent; the number of swaps is the smaller of two draws from
    1..3. The first parent is the best of some random subsets on the few samples.

    Source: EvoPress (arXiv:2410.14649) and the settings of its published script for depth pruning:
    32 offspring, 2 survivors, then 1, 64 random starts, k (N − k)/1.5 generations.
    Deviations: the stages use the first eighth and then all of the calibration set, where the source
    draws 1/64 and 1/4 of a larger one anew in each generation; the swaps of an offspring do not undo
    each other; offspring that lost on all samples before are not tried again.
    Cost: early_fraction · (starts + generations · offspring) + generations · survivors + 1
    evaluations at most.

    Attributes:
        offspring: λ, number of offspring in a generation.
        survivors: Number of offspring that the first stage leaves.
        starts: Number of random subsets of which the first parent is the best.
        generations: By default k (N − k)/1.5, rounded up, with N the number of removable blocks.
        early_fraction: Fraction of the calibration samples that the first stage uses, at least one.
        from_oneshot: Start from the one-shot subset instead, for N further evaluations.
    """

    kind, order, guarantees, uses_seed = Kind.COMPLEX, 10, frozenset({Guarantee.EXACT_FOR_ONE_BLOCK}), True
    at_least_one = ("offspring", "survivors", "starts", "generations")

    offspring: int = 32
    survivors: int = 2
    starts: int = 64
    generations: int | None = None
    early_fraction: float = 0.125
    from_oneshot: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.early_fraction <= 1:
            raise ConfigError(
                f"The value of 'search.early_fraction' is {self.early_fraction}, but must be above 0 and at most 1."
            )

    def promised(self) -> frozenset[Guarantee]:
        """Returns the laws that it keeps; it can be worse than one-shot unless it starts from there."""
        return self.guarantees | ({Guarantee.NEVER_WORSE_THAN_ONESHOT} if self.from_oneshot else set())

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Replaces the parent by an offspring whenever that is better on all samples."""
        space = problem.space
        parent = self._first_parent(problem, rng)
        lost = {parent}
        default = math.ceil(space.budget * (len(space.removable) - space.budget) / 1.5)
        for _ in range(self.generations or max(1, default)):
            offspring = draw_distinct(functools.partial(mutate, problem, parent, rng), self.offspring, lost)
            if not offspring:
                break
            survivors = self._early_best(problem, offspring)[: self.survivors]
            lost.update(survivors)
            parent = problem.rank([parent, *survivors])[0]
        return SearchResult.of(parent)

    def _first_parent(self, problem: Problem, rng: Generator) -> BlockSubset:
        if self.from_oneshot:
            return OneShot().run(problem, rng).subset
        return self._early_best(problem, draw_distinct(lambda: problem.space.sample(rng), self.starts))[0]

    def _early_best(self, problem: Problem, subsets: Sequence[BlockSubset]) -> list[BlockSubset]:
        """Returns subsets by their loss on the early samples, the best first."""
        losses = problem.early_losses(subsets, math.ceil(self.early_fraction * problem.n_samples))
        return [subset for _, subset in sorted(zip(losses, subsets, strict=True))]


def mutate(problem: Problem, parent: BlockSubset, rng: Generator) -> BlockSubset:
    """Returns an offspring."""
    return problem.space.swap_randomly(parent, int(rng.integers(1, 4, size=2).min()), rng)
