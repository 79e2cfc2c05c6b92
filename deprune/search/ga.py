"""A genetic algorithm guided by the losses of single blocks."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset, draw_distinct
from deprune.search.base import NEVER_WORSE_THAN_ONESHOT, Generator, Kind, Problem, Search, SearchResult
from deprune.search.oneshot import OneShot
from deprune.search.prior import BlockPrior


@dataclass(frozen=True, kw_only=True)
class Genetic(Search):
    """Breeds subsets: tournaments choose parents, children keep what their parents share.

    Blocks that are added anywhere are drawn from the prior p_i ∝ exp(−z(s_i)/τ), with s_i the loss
    without block i alone. The first population is the one-shot subset and draws from the prior.

    Source: the study (arXiv:2604.24938) for population, elitism, mutation and generations.
    Deviations: unstated there, we chose the prior and τ, tournaments of two, a crossover that keeps
    A∩B and fills up from A△B by the prior (so sets need no repair), mutation as one swap of a child
    with the stated probability, and that a child which was evaluated before is bred anew. Where
    20 tries per child find nothing new, the generation is smaller.
    Cost: N + population + generations · (population − elites) evaluations at most.

    Attributes:
        population: Number of subsets in a generation.
        elitism: Fraction of a generation that survives into the next, at least one subset.
        mutation: Probability that a child is mutated.
        generations: Number of generations after the first.
        temperature: τ of the prior.
        tournament: Number of subsets of which the best becomes a parent.
    """

    kind, order, guarantees, uses_seed = Kind.COMPLEX, 9, NEVER_WORSE_THAN_ONESHOT, True
    at_least_one, above_zero = ("population", "generations", "tournament"), ("temperature",)

    population: int = 16
    elitism: float = 0.2
    mutation: float = 0.15
    generations: int = 10
    temperature: float = 1.0
    tournament: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("elitism", "mutation"):
            if not 0 <= (value := getattr(self, setting)) <= 1:
                raise ConfigError(f"The value of 'search.{setting}' is {value}, but must be between 0 and 1.")

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Breeds the generations; the best subset of all of them is the result."""
        first = OneShot().run(problem, rng).subset
        prior = BlockPrior.of(problem, self.temperature)
        members = [first, *draw_distinct(lambda: prior.draw_subset(rng), self.population - 1, {first})]
        n_elites = max(1, round(self.elitism * self.population))
        evaluated = set(members)
        for _ in range(self.generations):
            ranked = problem.rank(members)
            breed = functools.partial(self._breed, ranked, prior, rng)
            children = draw_distinct(breed, self.population - n_elites, evaluated)
            evaluated.update(children)
            members = [*ranked[:n_elites], *children]
        problem.losses(members)
        return SearchResult.of(problem.best())

    def _breed(self, ranked: Sequence[BlockSubset], prior: BlockPrior, rng: Generator) -> BlockSubset:
        """Returns a child of two winners of tournaments; `ranked` holds the best subset first."""
        mother, father = (ranked[rng.integers(len(ranked), size=self.tournament).min()] for _ in range(2))
        child = cross(mother, father, prior, rng)
        return mutate(child, prior, rng) if rng.random() < self.mutation else child


def cross(mother: BlockSubset, father: BlockSubset, prior: BlockPrior, rng: Generator) -> BlockSubset:
    """Returns a subset with all blocks that both parents remove, and of the others as many as are missing."""
    ours, theirs = {*mother.removed}, {*father.removed}
    filling = prior.draw(len(ours - theirs), sorted(ours ^ theirs), rng)
    return BlockSubset.of(mother.n_blocks, (ours & theirs).union(filling))


def mutate(subset: BlockSubset, prior: BlockPrior, rng: Generator) -> BlockSubset:
    """Returns the subset with one of its blocks swapped for a remaining one, drawn from the prior."""
    removed = prior.draw(1, prior.space.remaining(subset), rng)
    restored = rng.permutation(subset.removed)[: len(removed)].tolist()
    return subset.swap(restored, removed)
