"""Constrained binary optimisation: the exact minimum of a quadratic model of the loss."""

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deprune.core.errors import ConfigError
from deprune.core.subset import BlockSubset
from deprune.search.base import EXACT_FOR_ONE_BLOCK, Floats, Generator, Kind, Problem, Search, SearchResult
from deprune.search.oneshot import OneShot
from deprune.search.prior import finite, indicators

CHUNK = 2048
"""Number of states of each half whose joint energies are held at once (32 MiB)."""

State = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ConstrainedBinaryOptimisation(Search):
    """Fits L(S) − L(∅) ≈ Σ h_i + Σ_{i<j} J_ij, finds the best subsets of the model, and takes the truly best of them.

    Source: the study (arXiv:2604.24938); the formulation is that of arXiv:2602.00161.
    Deviations: there J comes from gradients; the study's timings imply the direct way taken here,
    h_i = Δ({i}) and J_ij = Δ({i,j}) − h_i − h_j with Δ(S) = L(S) − L(∅). The model is minimised
    exactly, by enumeration in bounded memory, so no Ising solver is involved.
    Cost: 1 + N + N (N − 1)/2 + candidates evaluations, and C(N, k) sums of the model.

    Attributes:
        candidates: Number of best subsets of the model that are evaluated.
        max_states: Refuse to enumerate more subsets than this.
    """

    kind, order, guarantees = Kind.COMPLEX, 12, EXACT_FOR_ONE_BLOCK
    at_least_one = ("candidates",)

    candidates: int = 20
    max_states: int = 10_000_000_000

    def run(self, problem: Problem, rng: Generator) -> SearchResult:
        """Fits the model, minimises it and evaluates its best subsets; refuses, by a ConfigError, too many."""
        space, model = problem.space, self._fit(problem)
        states = lowest_states(*model, space.budget, self.candidates)
        found = [BlockSubset.of(space.n_blocks, (space.removable[i] for i in state)) for state in states]
        return SearchResult.of(problem.argmin(found))

    def rehearse(self, problem: Problem, rng: Generator) -> SearchResult:
        """Fits the model and evaluates neighbours of its best subset without interactions."""
        self._fit(problem)
        first = OneShot().run(problem, rng).subset
        return SearchResult.of(problem.argmin([first, *problem.space.neighbours(first)][: self.candidates]))

    def _fit(self, problem: Problem) -> tuple[Floats, Floats]:
        if problem.space.size > self.max_states:
            raise ConfigError(
                f"There are {problem.space.size:,} subsets of {problem.space.budget} blocks, more than "
                f"search.max_states={self.max_states:,}; lower the budget or choose another search."
            )
        return fit_quadratic(problem)


def fit_quadratic(problem: Problem) -> tuple[Floats, Floats]:
    """Returns h `(n,)` and the symmetric J `(n, n)` of the n removable blocks; J is 0 where k = 1."""
    n_blocks, blocks = problem.space.n_blocks, problem.space.removable
    sizes = range(min(problem.space.budget, 2) + 1)
    subsets = [BlockSubset(n_blocks, removed) for size in sizes for removed in itertools.combinations(blocks, size)]
    dense, *changes = finite(problem.losses(subsets))
    fields = np.array(changes[: len(blocks)]) - dense
    couplings = np.zeros((len(blocks), len(blocks)))
    if pairs := changes[len(blocks) :]:
        upper = np.triu_indices(len(blocks), k=1)
        couplings[upper] = np.array(pairs) - dense - fields[upper[0]] - fields[upper[1]]
    return fields, couplings + couplings.T


def lowest_states(fields: Floats, couplings: Floats, size: int, n_states: int) -> list[State]:
    """Returns the states of lowest energy Σ h_i + Σ_{i<j} J_ij among all with `size` ones, the lowest first.

    Args:
        fields: h, `(n,)`.
        couplings: J, symmetric with zeros on the diagonal, `(n, n)`.
        size: Number of ones.
        n_states: Number of states wanted. Of equal energies the state first in order comes first.
    """
    lowest: list[tuple[float, State]] = []
    for energies, lefts, rights in _energies(fields, couplings, size):
        bound = lowest[-1][0] if len(lowest) == n_states else np.inf
        candidates = np.flatnonzero(energies <= bound)
        new = candidates[_smallest(energies.flat[candidates], n_states)]
        found = [(float(energies.flat[i]), lefts[i // len(rights)] + rights[i % len(rights)]) for i in new.tolist()]
        lowest = heapq.nsmallest(n_states, lowest + found)
    return [state for _, state in lowest]


def _energies(fields: Floats, couplings: Floats, size: int) -> Iterator[tuple[Floats, list[State], list[State]]]:
    """Yields, in chunks, the energies of states that join one of the left half to one of the right, and these.

    With x the ones on the left and y those on the right, the energy is E(x) + E(y) + xᵀJy: one
    product of matrices with a row for every x and a column for every y.
    """
    n, middle = len(fields), len(fields) // 2
    for n_left in range(max(0, size - (n - middle)), min(size, middle) + 1):
        for lefts in _chunks(itertools.combinations(range(middle), n_left)):
            x = indicators(lefts, n)
            rows = np.column_stack([x @ couplings, _own(x, fields, couplings), np.ones(len(x))])
            for rights in _chunks(itertools.combinations(range(middle, n), size - n_left)):
                y = indicators(rights, n)
                columns = np.column_stack([y, np.ones(len(y)), _own(y, fields, couplings)])
                yield rows @ columns.T, lefts, rights


def _chunks(states: Iterable[State]) -> Iterator[list[State]]:
    states = iter(states)
    while chunk := list(itertools.islice(states, CHUNK)):
        yield chunk


def _own(ones: Floats, fields: Floats, couplings: Floats) -> Floats:
    """Returns the energy of each state of one half alone."""
    own: Floats = ones @ fields + np.einsum("si,si->s", ones @ couplings, ones) / 2
    return own


def _smallest(values: Floats, n: int) -> NDArray[np.intp]:
    """Returns the positions of the n smallest values, the smallest first; of equal ones the first."""
    bound = np.partition(values, n - 1)[n - 1] if n < len(values) else np.inf
    positions = np.flatnonzero(values <= bound)
    return positions[np.argsort(values[positions], kind="stable")[:n]]
