"""The record of one run: everything that the analysis needs, in one immutable JSON file of nested parts."""

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, with_config

from deprune.core.fingerprint import digest_of

SCHEMA_VERSION = 3

FAILURE_SCHEMA_VERSION = 2

UNTREATED = "none"
"""The treatment that is none."""

ACCURACY, LOG_PERPLEXITY = "accuracy", "log perplexity"
"""Responses that scorers of the project give: the share of items answered rightly, and the mean loss of a token."""

SHARE, NATS_PER_TOKEN = "share", "nat/token"
"""Units of these two."""

STRICT = ConfigDict(strict=True, extra="forbid")
"""A file is a record only if every field is there, of its type, and no other."""


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Factors:
    """What is varied in sweeps; the same in records of runs and of failures.

    Attributes:
        calib_samples: Number of calibration samples.
        calib_seq_len: Length of a calibration window, or of the longest item [tokens].
        search: `dense` where no block was to go.
        treatment: What was done to the weights after the removal; `none` for nothing.
        calib_seed: Seed of the calibration draw.
        search_seed: Null where the search is deterministic.
    """

    model: str
    budget: int
    calib_dataset: str
    objective: str
    calib_samples: int
    calib_seq_len: int
    search: str
    treatment: str
    calib_seed: int
    search_seed: int | None


@with_config(STRICT)
@dataclass(frozen=True)
class Draw:
    """The calibration draw.

    Attributes:
        sample_id: Identity of the draw: the unit of resampling.
        token_hash: Hash of the calibration tokens.
        draw_id: The draw within its model, as mixed models use it.
        n_tokens: Number of tokens in the calibration set.
    """

    sample_id: str
    token_hash: str
    draw_id: str
    n_tokens: int


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class SearchFacts:
    """What a search says of itself; see `deprune.search.base.Search`."""

    kind: str
    version: int
    guarantees: tuple[str, ...]
    order: int


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Removal:
    """Which blocks went, and what the objective was on the calibration set, before any treatment.

    Attributes:
        n_blocks: Number of blocks of the dense model.
        subset: One digit per block, `1` where it is removed.
        order: The removed blocks, in the order in which they went.
        unit: Unit of the objective.
        loss: Objective of the pruned model.
        stderr: Its standard error over calibration samples.
        dense_loss: Objective of the dense model.
        accuracy: Accuracy of the pruned model on the calibration items, where these are items.
        dense_accuracy: That of the dense model.
        trace: Improvements during the search: evaluations, blocks removed, loss, subset.
        racing: Whether candidates were dropped by a statistical test during the search.
        search: What the search says of itself; null where there was nothing to search.
        fixed: Blocks that the model itself forbids to remove.
    """

    n_blocks: int
    subset: str
    order: tuple[int, ...]
    unit: str
    loss: float
    stderr: float | None
    dense_loss: float
    accuracy: float | None
    dense_accuracy: float | None
    trace: tuple[dict[str, Any], ...]
    racing: bool
    search: SearchFacts | None
    fixed: tuple[int, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One score of the pruned model beside the dense one's.

    Attributes:
        scorer: The scorer that gave it, by its key in the configuration.
        task: The task or corpus that it was measured on.
        response: The response of the analysis that it is a part of, such as `accuracy`; null for none.
        value: Null where a perplexity is not finite.
        stderr: Standard error over items; null where it is not sampled from items.
        unit: Of the value.
        chance: What guessing gives; null where there is no such level, or it is not known.
        n_items: Number of items or windows; 0 for what is counted or timed.
        item_set: Hash of the items; only scores on the same items may be compared.
        version: Version of the task's definition.
    """

    scorer: str
    task: str
    metric: str
    response: str | None
    value: float | None
    stderr: float | None
    dense_value: float | None
    dense_stderr: float | None
    unit: str
    higher_is_better: bool
    chance: float | None
    n_items: int
    item_set: str
    version: str


@with_config(STRICT)
@dataclass(frozen=True)
class Scores:
    """What the pruned model is worth.

    Attributes:
        metrics: The rows of all scorers.
        accuracy: Mean of the rows that are parts of the response `accuracy`, each task counting the same.
        dense_accuracy: The same of the dense model.
    """

    metrics: tuple[MetricRow, ...]
    accuracy: float | None
    dense_accuracy: float | None


@with_config(STRICT)
@dataclass(frozen=True)
class Cost:
    """What the run took.

    Attributes:
        n_evals: Losses that the search asked for.
        evaluations: What became of them: remembered, computed, block calls. Depends on what other runs left behind.
        seconds: By phase.
    """

    n_evals: int
    evaluations: dict[str, int]
    seconds: dict[str, float]
    peak_memory_bytes: int


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the run comes from, and where its details lie.

    Attributes:
        model_path: Repository or embedded family; null for a local folder, whose place is nobody's business.
        model_revision: Commit on the Hub, or a hash of the files of a folder.
        warnings: What a reader of the numbers must know, such as calibration data in the evaluation data.
        stores: Where below the results folder the details lie: the folder of `evaluations/`, the name of the
            calibration samples there (`samples`), and below `downstream/` the file of scores.
        environment: Versions, device, and the state of the code.
    """

    model_path: str | None
    model_revision: str
    warnings: tuple[str, ...]
    stores: dict[str, str]
    environment: dict[str, str]
    written_at: str


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: Hash of `identity`.
        status: `done`.
        identity: The resolved scientific configuration: what the result is a function of.
    """

    schema_version: int
    run_id: str
    status: str
    identity: dict[str, Any]
    factors: Factors
    draw: Draw
    removal: Removal
    scores: Scores
    cost: Cost
    provenance: Provenance

    @property
    def is_dense(self) -> bool:
        """Whether no block was removed."""
        return self.factors.budget == 0

    @property
    def calib_config(self) -> str:
        """Joint label of objective, corpus, sample count and length."""
        of = self.factors
        return f"{of.objective} {of.calib_dataset} n{of.calib_samples} L{of.calib_seq_len}"

    @property
    def subset_hash(self) -> str:
        """Hash of the removed blocks."""
        return digest_of(self.removal.subset)


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class FailureRecord:
    """Why a run has no record yet, and which cell of the grid is missing.

    Attributes:
        exception: Type of the exception.
        reason: What went wrong, in one sentence.
        phase: What the job was doing: preparation, calibration, model, rehearsal, search, treatment, evaluation, or
            recording.
        log: The job's log file, relative to the results folder.

    The other fields are those of `RunRecord`.
    """

    schema_version: int
    run_id: str
    exception: str
    reason: str
    phase: str
    log: str
    identity: dict[str, Any]
    factors: Factors
