"""The record of one run: everything that the analysis needs, in one immutable JSON file.

This module and `deprune.core.subset` are all that the analysis may import; no torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, with_config

SCHEMA_VERSION = 2

FAILURE_SCHEMA_VERSION = 1

WAY_OUT = "delete it and run the job again"

STRICT = ConfigDict(strict=True, extra="forbid")
"""A file is a record only if every field is there, of its type, and no other."""


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One score of the pruned model beside the dense one's.

    Attributes:
        value: Null where a perplexity is not finite.
        stderr: Standard error over items.
        item_set: Hash of the items; only scores on the same items may be compared.
        version: Version of the task's definition.
    """

    task: str
    metric: str
    value: float | None
    stderr: float
    dense_value: float
    dense_stderr: float
    n_items: int
    item_set: str
    version: str
    higher_is_better: bool


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: Hash of `identity`.
        identity: The resolved scientific configuration: what the result is a function of.
        model_path: Repository or embedded family; null for a local folder, whose place is nobody's business.
        model_revision: Commit on the Hub, or a hash of the files of a folder.
        budget: Number of blocks removed.
        calib_config: Joint label of objective, corpus, sample count and length.
        calib_tokens: Number of tokens in the calibration set.
        calib_sample_id: Identity of the calibration draw: the unit of resampling.
        calib_token_hash: Hash of the calibration tokens.
        draw_id: The draw within its model, as mixed models use it.
        search_seed: Null where the search is deterministic.
        subset: One digit per block, `1` where it is removed.
        removed: The removed blocks, in the order in which they went.
        calib_value: Objective of the pruned model on the calibration set.
        calib_stderr: Its standard error over calibration samples.
        calib_value_dense: Objective of the dense model on the same set.
        trace: Improvements during the search: evaluations, blocks removed, loss, subset.
        n_evals: Losses that the search asked for.
        racing: Whether candidates were dropped by a statistical test during the search.
        calib_accuracy: Accuracy of the pruned model on the calibration items, where these are items.
        calib_accuracy_dense: That of the dense model on the same items.
        metrics: Scores of the pruned and the dense model: accuracies of tasks (`acc`, `acc_norm`)
            and `log_perplexity` [nat/token] of held-out corpora, whose items are windows.
        accuracy: Mean of the tasks' accuracies, each task counting the same.
        accuracy_dense: The same of the dense model.
        efficiency: Parameters and FLOPs per token, pruned and dense.
        warnings: What a reader of the numbers must know, such as calibration data in the evaluation data.
        stores: Where below the results folder the details lie: the folders of `evaluations/` and
            `downstream/`, and the name of the calibration samples in the former.
        measured: Seconds by phase, evaluations remembered and computed, peak memory, time of
            writing: what differs between two runs of the same configuration.
        environment: Versions, device, and the state of the code.
    """

    schema_version: int
    run_id: str
    identity: dict[str, Any]
    model: str
    model_path: str | None
    model_revision: str
    n_blocks: int
    calib_dataset: str
    calib_config: str
    calib_samples: int
    calib_seq_len: int
    calib_tokens: int
    calib_seed: int
    calib_sample_id: str
    calib_token_hash: str
    draw_id: str
    objective: str
    unit: str
    search: str
    search_seed: int | None
    budget: int
    budget_frac: float
    is_dense: bool
    status: str
    subset: str
    subset_hash: str
    removed: tuple[int, ...]
    calib_value: float
    calib_stderr: float | None
    calib_value_dense: float
    trace: tuple[dict[str, Any], ...]
    n_evals: int
    racing: bool
    calib_accuracy: float | None
    calib_accuracy_dense: float | None
    metrics: tuple[MetricRow, ...]
    accuracy: float | None
    accuracy_dense: float | None
    efficiency: dict[str, float]
    warnings: tuple[str, ...]
    stores: dict[str, str]
    measured: dict[str, Any]
    environment: dict[str, str]


@with_config(STRICT)
@dataclass(frozen=True, kw_only=True)
class FailureRecord:
    """Why a run has no record yet, and which cell of the grid is missing.

    Attributes:
        exception: Type of the exception.
        reason: What went wrong, in one sentence.
        phase: What the job was doing: preparation, calibration, model, search, evaluation, or recording.
        log: The job's log file, relative to the results folder.

    The other fields are those of `RunRecord`.
    """

    schema_version: int
    run_id: str
    exception: str
    reason: str
    phase: str
    log: str
    model: str
    calib_dataset: str
    calib_samples: int
    calib_seq_len: int
    calib_seed: int
    objective: str
    search: str
    search_seed: int | None
    budget: int
