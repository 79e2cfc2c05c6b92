"""What a run is a function of: the resolved scientific configuration and its hash.

Two command lines that ask for the same thing have the same run id: fractions of blocks and
`auto` values are resolved first, settings that cannot matter are left out, and the model is
named by the content of its weights.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from deprune.core.build import name_of
from deprune.core.errors import ConfigError
from deprune.core.fingerprint import digest_of
from deprune.core.subset import SearchSpace
from deprune.model.rehearsal import Reasons, sentence
from deprune.model.source import ModelFacts, model_identity, resolve_device, resolve_dtype
from deprune.run.config import RunConfig
from deprune.search.base import Search

DEFAULT_SEQ_LEN = 2048
"""The study's window length [tokens], for models whose context allows it."""


@dataclass(frozen=True)
class ResolvedRun:
    """A configuration with everything resolved that can be without loading the model.

    Attributes:
        space: The subsets that the search may choose from; it holds the budget.
        seq_len: Length of a calibration window [tokens].
        search_seed: None where the search is deterministic, or there is nothing to search.
        identity: The scientific configuration.
        run_id: Hash of the identity.
    """

    space: SearchSpace
    seq_len: int
    device: str
    dtype: str
    search_seed: int | None
    identity: dict[str, Any]
    run_id: str

    def leaving(self, fixed: Reasons, label: str) -> Self:
        """Returns the run whose search leaves alone what must stay in a model, which its content already says.

        Raises:
            ConfigError: The budget is more than the blocks that are left.
        """
        space = self.space
        protected = space.protected | fixed.keys()
        if fixed and space.budget > (free := space.n_blocks - len(protected)):
            raise ConfigError(
                f"The budget of {space.budget} blocks is more than the {free} that may be removed; lower it. "
                f"{sentence(label, fixed)}"
            )
        return replace(self, space=replace(space, protected=frozenset(protected)))


def resolve(config: RunConfig, facts: ModelFacts) -> ResolvedRun:
    """Resolves a configuration for a model.

    Raises:
        ConfigError: The budget or the window length does not fit the model.
    """
    budget = resolve_budget(config.budget, facts.n_blocks)
    protected = {*range(config.search.protect_first)} | {
        *range(facts.n_blocks - config.search.protect_last, facts.n_blocks)
    }
    space = SearchSpace(facts.n_blocks, budget, frozenset(protected))
    seq_len = resolve_seq_len(config.calib.seq_len, facts.context)
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    seed = config.seed if config.search.uses_seed and budget else None
    identity: dict[str, Any] = {
        "model": model_identity(config.model, facts, dtype),
        "calib": {
            "name": config.calib.name,
            "n_samples": config.calib.n_samples,
            "seq_len": seq_len,
            "seed": config.calib.seed,
            **config.calib.corpus.identity(),
        },
        "objective": config.objective.identity(),
        "search": _search_identity(config.search, seed) if budget else None,
        "budget": budget,
        "eval": config.eval.identity(),
    }
    if (treatment := config.treat.identity()) is not None:
        identity["treat"] = treatment
    if config.evaluator.racing and budget:
        identity["racing"] = config.evaluator.racing_error
    return ResolvedRun(space, seq_len, device, dtype, seed, identity, digest_of(identity))


def _search_identity(search: Search, seed: int | None) -> dict[str, Any]:
    version = {} if search.version == 1 else {"version": search.version}  # a first version has left none in old records
    return {"name": name_of(search), "seed": seed, **asdict(search), **version}


def resolve_budget(budget: int | float, n_blocks: int) -> int:
    """Returns a budget as a number of blocks.

    Raises:
        ConfigError: It is negative, a fraction of 1 or more, is no block but not 0, or leaves no block.
    """
    if isinstance(budget, float):
        if not 0 <= budget < 1:
            raise ConfigError(
                f"The budget {budget} is not a fraction between 0 and 1; give a fraction of the "
                f"{n_blocks} blocks such as 0.25, or a whole number of blocks."
            )
        whole = round(budget * n_blocks)
        if budget and not 0 < whole < n_blocks:
            share = f"The budget {budget} of {n_blocks} blocks is {'none' if whole == 0 else 'all'} of them"
            more = f", or 1 to {n_blocks - 1} blocks" if n_blocks > 1 else "; its only block must stay"
            raise ConfigError(f"{share}; give 0 for the dense model{more}.")
        return whole
    if not 0 <= budget < n_blocks:
        raise ConfigError(
            f"The budget of {budget} blocks does not fit a model of {n_blocks} blocks; give 0 to {n_blocks - 1}."
        )
    return budget


def resolve_seq_len(seq_len: int | None, context: int | None) -> int:
    """Returns the length of calibration windows [tokens].

    Raises:
        ConfigError: It is longer than the model's context.
    """
    if seq_len is None:
        return min(DEFAULT_SEQ_LEN, context or DEFAULT_SEQ_LEN)
    if context is not None and seq_len > context:
        raise ConfigError(
            f"The window length calib.seq_len={seq_len} is longer than the model's context of {context} tokens; "
            f"give at most {context}."
        )
    return seq_len
