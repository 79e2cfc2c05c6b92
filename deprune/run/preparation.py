"""What a job does before its search: it draws, loads, and tries on a few tokens all that is going to be paid for."""

import logging
from dataclasses import dataclass
from typing import NamedTuple

from deprune.core.errors import DataError
from deprune.core.subset import BlockSubset, SearchSpace
from deprune.data.corpora import RandomTokens
from deprune.data.draw import DrawnItems, draw_items, draw_windows
from deprune.data.overlap import EvaluatedText, overlap_warnings
from deprune.data.samples import CalibrationSet
from deprune.downstream.scoring import try_scorers
from deprune.model.load import LoadedModel
from deprune.model.pruned import PrunedModel
from deprune.model.rehearsal import Reasons, rehearse, sentence
from deprune.model.source import MODELS, load_tokenizer
from deprune.objective.shared_context import calibration_set
from deprune.run.config import RunConfig
from deprune.run.identity import ResolvedRun
from deprune.run.outcome import Stopwatch
from deprune.run.session import Session

log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """What a search needs.

    Attributes:
        space: What it may choose from, without the blocks that the model itself forbids to remove.
        fixed: These blocks.
        warnings: What a reader of the numbers must know.
    """

    loaded: LoadedModel
    samples: CalibrationSet
    space: SearchSpace
    fixed: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared; the fields are those of the job."""

    config: RunConfig
    run: ResolvedRun
    session: Session

    def do(self, watch: Stopwatch) -> Prepared:
        """Prepares a search; raises a DepruneError where something later could not be done."""
        config = self.config
        if isinstance(config.calib.corpus, RandomTokens):
            with watch.phase("model"):  # which says what tokens there are
                self._loaded()
        with watch.phase("calibration"):
            drawn = self.draw()
        with watch.phase("model"):
            loaded = self._loaded()
        with watch.phase("rehearsal"):
            fixed = self._fixed(loaded)
            space = self.run.leaving(fixed, config.model.label).space
        with watch.phase("calibration"):
            samples, warnings = self._samples(loaded, drawn)
        with watch.phase("rehearsal"):
            self._try_scorers(loaded, space)
        if fixed:
            warnings = (sentence(config.model.label, fixed), *warnings)
        for warning in warnings:
            log.warning("%s", warning)
        return Prepared(loaded, samples, space, tuple(sorted(fixed)), warnings)

    def _loaded(self) -> LoadedModel:
        return self.session.model(self.config.model, self.run.device, self.run.dtype)

    def draw(self) -> CalibrationSet | DrawnItems:
        """Returns the calibration samples, or the items that a model is still to lay out, drawn once in a session."""
        config, memory = self.config, self.session.memory
        tokenizer = memory.once(load_tokenizer, config.model)
        args = config.calib, self.run.seq_len, tokenizer, config.model.label, memory
        if config.objective.needs_items:
            return memory.once(draw_items, *args)
        is_random = isinstance(config.calib.corpus, RandomTokens)
        return memory.once(draw_windows, *args, self._loaded().stack.n_embeddings if is_random else None)

    def _fixed(self, loaded: LoadedModel) -> Reasons:
        """Returns the blocks that must stay, with reasons; where none goes, nobody asks."""
        if not self.run.space.budget:
            return {}
        builds_models = self.config.eval.builds_models()
        return rehearse(loaded, self.run.seq_len, builds_models, self.config.results_dir / MODELS)

    def _samples(
        self, loaded: LoadedModel, drawn: CalibrationSet | DrawnItems
    ) -> tuple[CalibrationSet, tuple[str, ...]]:
        """Returns the calibration set, and what it has in common with the evaluation data."""
        scorers, memory = self.config.eval.scorers.values(), self.session.memory
        _require_known(loaded, drawn.largest, f"the calibration data {self.config.calib.name}")
        samples = loaded.memory.once(calibration_set, drawn, loaded.stack) if isinstance(drawn, DrawnItems) else drawn
        evaluated: list[EvaluatedText] = [text for scorer in scorers for text in scorer.texts(loaded, memory)]
        for text in evaluated:
            _require_known(loaded, text.largest, text.name)
        items = drawn.items if isinstance(drawn, DrawnItems) else ()
        return samples, tuple(overlap_warnings(samples, items, evaluated))

    def _try_scorers(self, loaded: LoadedModel, space: SearchSpace) -> None:
        """Lets each scorer score one item of the dense model and, where blocks go, of one without a block."""
        config = self.config
        dense = BlockSubset(space.n_blocks)
        subsets = [dense, *(dense.remove(block) for block in space.removable[: min(1, space.budget)])]
        models = [PrunedModel(loaded, subset) for subset in subsets]
        try_scorers(models, config.eval.scorers, config.results_dir / "downstream", self.session.memory)


def _require_known(loaded: LoadedModel, largest: int, where: str) -> None:
    """Raises a DataError where a token has no row in the embedding, which some tokenizers are too large for."""
    n_rows, label = loaded.stack.n_embeddings, loaded.config.label
    if largest >= n_rows:
        token = f"The token '{loaded.tokenizer.convert_ids_to_tokens(largest)}' ({largest}) in {where}"
        raise DataError(f"{token} has no row in the embedding of {label}, which has {n_rows}; take other data.")
