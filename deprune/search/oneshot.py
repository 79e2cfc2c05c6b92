"""One-shot removal by the loss of each block alone."""

from dataclasses import dataclass

from deprune.search.base import NEVER_WORSE_THAN_ONESHOT, BlockSubset, Generator, Kind, Problem, Search, SearchResult


@dataclass(frozen=True, kw_only=True)
class OneShot(Search):
    """Removes the k blocks whose removal alone costs least. Ties go to the lower index.

    Source: the study's one-shot baseline (arXiv:2604.24938).
    Cost: N evaluations.
    """

    kind, order, guarantees = Kind.SIMPLE, 4, NEVER_WORSE_THAN_ONESHOT

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Evaluates every single removal and takes the k best."""
        n_blocks, blocks = problem.space.n_blocks, problem.space.removable
        losses = problem.losses([BlockSubset.of(n_blocks, [b]) for b in blocks])
        order = tuple(b for _, b in sorted(zip(losses, blocks, strict=True)))[: problem.space.budget]
        return SearchResult(BlockSubset.of(n_blocks, order), order)
