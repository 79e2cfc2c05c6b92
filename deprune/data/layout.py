"""Token layouts of multiple-choice items.

Where the model allows it, an item is one row, in which its choices follow their common context and do
not see one another (shared layout); the context then goes through the model once. Else each choice is a row
of its own. Which of the two it is, is tried on the model and not known by name.

Shapes: as in `deprune.data.samples`.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from deprune.core.errors import UnsupportedModelError
from deprune.data.corpus import Item, ItemTokens
from deprune.data.samples import AnswerTokens


def tokenize_item(item: Item, tokenizer: PreTrainedTokenizerBase) -> ItemTokens | None:
    """Returns the tokens of an item as lm-eval makes them, or None where a choice has none of its own.

    A context and a choice are tokenized together; the choice is what then follows the tokens of the
    context alone. An empty context is the end-of-text or start token.
    """
    rows, n_scored = [], []
    for context, choice in item.choices:
        n_spaces = len(context) - len(context.rstrip())
        head, tail = (context[:-n_spaces], context[-n_spaces:] + choice) if n_spaces else (context, choice)
        if head:
            context_ids = tokenizer.encode(head)
            choice_ids = tokenizer.encode(head + tail)[len(context_ids) :]
        else:
            start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            if start is None:
                unsaid = "An item has no context, and the tokenizer neither a start nor an end token to stand for it"
                raise UnsupportedModelError(f"{unsaid}; set eos_token in its tokenizer_config.json.")
            context_ids, choice_ids = [start], tokenizer.encode(tail, add_special_tokens=False)
        rows.append(context_ids + choice_ids)
        n_scored.append(len(choice_ids))
    if not all(n_scored) or len(rows) < 2:
        return None
    n_shared = min(_n_common(rows), *(len(row) - n for row, n in zip(rows, n_scored, strict=True)))
    shared, rests = rows[0][:n_shared], [row[n_shared:] for row in rows]
    return ItemTokens(tuple(shared), tuple(map(tuple, rests)), tuple(n_scored), item.answer)


def _n_common(rows: Sequence[Sequence[int]]) -> int:
    columns = zip(*rows, strict=False)  # as far as the shortest goes
    return next((n for n, tokens in enumerate(columns) if len(set(tokens)) > 1), min(map(len, rows)))


def lay_out(items: Sequence[ItemTokens], draw: Sequence[ItemTokens], shared: bool) -> tuple[torch.Tensor, AnswerTokens]:
    """Returns the token ids `(R, T)` of items, the choices of each in one `shared` row or not, and what is scored.

    The items of `draw` decide on the sizes to which all are filled up, so that no loss depends on an item's company.
    """
    rows_per_item = 1 if shared else max(len(t.rests) for t in draw)
    length = max(t.n_tokens if shared else len(t.shared) + max(map(len, t.rests)) for t in draw)
    ids_RT = torch.zeros(len(items) * rows_per_item, length, dtype=torch.long)
    segments_RT, positions_RT = torch.full_like(ids_RT, -2), torch.zeros_like(ids_RT)
    sources_BP = torch.zeros(len(items), max(sum(t.n_scored) for t in draw), dtype=torch.long)
    targets_BP, choices_BP = torch.zeros_like(sources_BP), torch.full_like(sources_BP, -1)
    for b, item in enumerate(items):
        n_shared, column = len(item.shared), 0
        stop = n_shared
        for c, (rest, n_scored) in enumerate(zip(item.rests, item.n_scored, strict=True)):
            row = b * rows_per_item + (0 if shared else c)
            start = stop if shared else n_shared
            stop = start + len(rest)
            ids_RT[row, :n_shared], ids_RT[row, start:stop] = torch.tensor(item.shared), torch.tensor(rest)
            segments_RT[row, :n_shared], segments_RT[row, start:stop] = -1, c
            positions_RT[row, :n_shared] = torch.arange(n_shared)
            positions_RT[row, start:stop] = torch.arange(n_shared, n_shared + len(rest))
            offset = 0 if shared else c * length
            # The first token of a rest is predicted at the last shared one, any other at its predecessor.
            predecessors = [n_shared - 1, *range(start, stop - 1)]
            scored = slice(column, column + n_scored)
            sources_BP[b, scored] = torch.tensor(predecessors[-n_scored:]) + offset
            targets_BP[b, scored] = torch.tensor(rest[-n_scored:])
            choices_BP[b, scored] = c
            column += n_scored
    answers_B = torch.tensor([item.answer for item in items])
    positions = positions_RT if shared else None
    return ids_RT, AnswerTokens(sources_BP, targets_BP, choices_BP, answers_B, segments_RT, positions)
