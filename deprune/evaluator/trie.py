"""Many subsets in one pass: a block runs once for all subsets that agree on what is kept below it.

The kept blocks of a batch of subsets form a trie. It is walked depth-first, so that only the
hidden states at which paths part are held: one for each branching ancestor.
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from deprune.core.subset import BlockSubset

RunBlock = Callable[[int, Tensor], Tensor]


def walk(hidden: Tensor, subsets: Sequence[BlockSubset], run_block: RunBlock) -> Iterator[tuple[BlockSubset, Tensor]]:
    """Yields each subset with the hidden state after its last kept block.

    Args:
        hidden: The hidden state before the first block.
        subsets: Distinct subsets of one model.
        run_block: Gives the hidden state after a block; called once for every distinct prefix
            of kept blocks among the subsets.
    """
    yield from _descend(hidden, [(s, s.kept) for s in subsets], 0, run_block)


def _descend(
    hidden: Tensor, paths: list[tuple[BlockSubset, tuple[int, ...]]], depth: int, run_block: RunBlock
) -> Iterator[tuple[BlockSubset, Tensor]]:
    """Continues below a node that all paths share; a chain without branches takes no recursion."""
    while True:
        branches: dict[int, list[tuple[BlockSubset, tuple[int, ...]]]] = {}
        for subset, kept in paths:
            if len(kept) == depth:
                yield subset, hidden
            else:
                branches.setdefault(kept[depth], []).append((subset, kept))
        if len(branches) != 1:
            break
        ((block, paths),) = branches.items()
        hidden = run_block(block, hidden)
        depth += 1
    for block, below in branches.items():
        yield from _descend(run_block(block, hidden), below, depth + 1, run_block)


def count_prefixes(subsets: Sequence[BlockSubset]) -> int:
    """Returns the number of distinct non-empty prefixes of kept blocks: the block calls of a walk."""
    return len({kept[:depth] for kept in (s.kept for s in subsets) for depth in range(1, len(kept) + 1)})
