"""The held-out corpora on which all pruned models' perplexity is measured.

Protocol: the texts are joined, tokenized as one, and cut into windows of 2,048 tokens (fewer where the model's context
is shorter); a window starts with the tokenizer's start token where it has one. What is left at the end is dropped.
The embedded corpora are cut as calibration windows are, since their models have not learned to read joined texts.
The log-perplexity is the mean over all predicted tokens.

Source: the study (arXiv:2604.24938) and the usual practice since SparseGPT (arXiv:2301.00774).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deprune.core.errors import ConfigError, DataError
from deprune.core.suggestions import unknown_name
from deprune.data.corpora import hub_rows
from deprune.data.hub import DataSet
from deprune.data.text import text_rows
from deprune.embedded import documents as embedded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class HeldOutCorpus:
    """A corpus of the Hub that nothing is calibrated on.

    Attributes:
        data: The data set.
        split: Its split.
        joint: What stands between two documents.
        n_documents: Number of documents to read, from the first; None for all.
        n_windows: Most windows to keep; None for all.
    """

    data: DataSet
    split: str
    joint: str = "\n\n"
    n_documents: int | None = None
    n_windows: int | None = None


C4 = DataSet(path="allenai/c4", file="en/c4-validation.00000-of-00008.json.gz")
HUB_CORPORA = {
    "wikitext2": HeldOutCorpus(DataSet(path="Salesforce/wikitext", config="wikitext-2-raw-v1"), "test"),
    "c4": HeldOutCorpus(C4, "validation", joint=" ", n_documents=1100, n_windows=256),
    "lambada": HeldOutCorpus(DataSet(path="EleutherAI/lambada_openai", config="default"), "test"),
}
"""The study's corpora: WikiText-2 test, the usual slice of C4 validation, LAMBADA test."""


def window_length(context: int | None) -> int:
    """Returns the length of held-out windows [tokens] for a model's context: the study's, where it allows that."""
    return min(2048, context or 2048)


def check_corpora(names: Sequence[str]) -> None:
    """Raises a ConfigError where there is no such held-out corpus."""
    for name in names:
        if name not in HUB_CORPORA and name not in embedded.WRITERS:
            raise ConfigError(unknown_name("corpus of eval.corpora", name, [*HUB_CORPORA, *embedded.WRITERS]))


def heldout_windows(name: str, seq_len: int, n_windows: int | None, tokenizer: "Tokenizer") -> "Tensor":
    """Returns the first token windows of a corpus, or all where `n_windows` is None, as int64 `(n, seq_len)`.

    Raises:
        DataError: The corpus cannot be had, or holds no whole window.
    """
    import torch

    from deprune.data.draw import windows_of

    if name in HUB_CORPORA:
        windows = _joint_windows(HUB_CORPORA[name], seq_len, tokenizer)
    else:
        documents = list(itertools.islice(embedded.documents(name, "heldout"), 400))
        windows = list(windows_of(documents, range(len(documents)), tokenizer, seq_len))
    if not windows:
        raise DataError(f"The held-out corpus {name} holds no window of {seq_len} tokens; take it out of eval.corpora.")
    return torch.tensor(windows[:n_windows])


def fetch_corpus(name: str) -> None:
    """Reads a corpus of the Hub, which fills the local cache."""
    hub_rows(HUB_CORPORA[name].data, HUB_CORPORA[name].split)


def _joint_windows(corpus: HeldOutCorpus, seq_len: int, tokenizer: "Tokenizer") -> list[list[int]]:
    from deprune.data.draw import start_tokens

    rows = text_rows(hub_rows(corpus.data, corpus.split), ["text"], corpus.data.path, "another data set")
    n_documents = len(rows) if corpus.n_documents is None else min(corpus.n_documents, len(rows))
    text = corpus.joint.join(rows[:n_documents]["text"])
    prefix = start_tokens(tokenizer)
    fresh = seq_len - len(prefix)
    ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
    starts = range(0, len(ids) - fresh + 1, fresh)[: corpus.n_windows]
    return [prefix + ids[start : start + fresh] for start in starts]
