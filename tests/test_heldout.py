"""Held-out perplexity is that of the pruned model, on text that nothing is calibrated on."""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch

from deprune.core.errors import ConfigError
from deprune.core.memory import Memory
from deprune.core.subset import BlockSubset
from deprune.data.heldout import check_corpora, heldout_windows, window_length
from deprune.downstream.perplexity import Perplexity
from deprune.embedded import documents
from deprune.model.load import LoadedModel
from deprune.model.prune import prune_blocks
from deprune.model.pruned import PrunedModel


def test_perplexity_is_that_of_the_physically_pruned_model(embedded: Callable[[str], LoadedModel]) -> None:
    loaded, subset = embedded("tiny_qwen3"), BlockSubset.of(12, [4, 6])
    models = [PrunedModel(loaded, removed) for removed in (BlockSubset(12), subset)]
    _, (score,) = Perplexity(corpora=("facts",), windows=5).score("facts", models, Memory())
    ids = heldout_windows("facts", window_length(loaded.facts.context), 5, loaded.tokenizer)
    model = copy.deepcopy(loaded.stack.model)
    prune_blocks(model, subset)
    with torch.inference_mode():
        losses = [float(model(row[None], labels=row[None]).loss) for row in ids]
    assert score.items == pytest.approx(losses, abs=1e-5)
    assert score.value == pytest.approx(sum(losses) / 5, abs=1e-5)
    assert score.stderr == pytest.approx(float(torch.tensor(losses).std()) / 5**0.5, rel=1e-3)
    assert score.n_items == 5


def test_heldout_documents_are_not_calibration_documents(embedded: Callable[[str], LoadedModel]) -> None:
    """The world is finite, so short documents recur; nearly all long ones do not."""
    tokenizer = embedded("tiny_llama").tokenizer
    for name in documents.WRITERS:
        start = tokenizer.decode(heldout_windows(name, 64, 1, tokenizer)[0]).split("<|endoftext|>")[0].strip()
        assert next(documents.documents(name, "heldout")).startswith(start)
        assert not next(documents.documents(name, "calibration")).startswith(start)
        calibration = set(itertools.islice(documents.documents(name, "calibration"), 4000))
        heldout = list(itertools.islice(documents.documents(name, "heldout"), 400))
        assert sum(text in calibration for text in heldout) <= 0.02 * len(heldout)


def test_a_corpus_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'wikitext'.*wikitext2"):
        check_corpora(["wikitext"])
