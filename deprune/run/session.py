"""What is expensive and lives as long as a process: the loaded model, open stores, built tasks."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from deprune.core.memory import Memory
from deprune.model.source import MODELS, ModelConfig, ModelFacts, keep_facts, read_facts
from deprune.record.evaluations import EvaluationStore

if TYPE_CHECKING:
    from deprune.model.load import LoadedModel

STORES = 4
"""Evaluation stores that stay open: those of the last contexts."""


class Session:
    """Belongs to the launcher, which makes one for a process and hands it to every job.

    Attributes:
        memory: What was read or built and may serve the next job, such as documents and tasks.
    """

    def __init__(self) -> None:
        self.memory = Memory()
        self._models = Memory()
        self._stores = Memory()
        self._loaded: tuple[ModelConfig, str, str] | None = None

    def facts(self, config: ModelConfig, results_dir: Path) -> ModelFacts:
        """Returns what is known of a model without its weights; see `read_facts`."""
        return self.memory.once(read_facts, config, results_dir / MODELS)

    def keep_facts(self, config: ModelConfig, results_dir: Path) -> None:
        """Leaves these for later commands; see `deprune.model.source.keep_facts`."""
        keep_facts(config, self.facts(config, results_dir), results_dir / MODELS)

    def model(self, config: ModelConfig, device: str, dtype: str) -> LoadedModel:
        """Returns a model in memory; the last one is kept, since jobs of a sweep share it. See `load_model`."""
        from deprune.model.load import load_model

        if self._loaded != (config, device, dtype):
            self._models.forget(load_model)
            gc.collect()  # it is part of circles, and there may be no room for two
            self._loaded = config, device, dtype
        return self._models.keeping(1, load_model, config, device, dtype, self.memory)

    def store(self, folder: Path, *, fresh: bool = False) -> EvaluationStore:
        """Returns the store of a context's folder, with all that is on disk by now.

        It stays open, so that a job reads what others have added and not all of it again, and so that a process
        leaves one shard and not one for each of its jobs.
        A `fresh` one believes nothing that was stored before.
        """
        if fresh:
            return EvaluationStore(folder, fresh=True)
        if not self._stores.keeping(STORES, EvaluationStore, folder.absolute()).is_intact():
            self._stores.forget(EvaluationStore)
        store = self._stores.keeping(STORES, EvaluationStore, folder.absolute())
        store.refresh()
        return store
