"""Pruned models as ordinary checkpoints, proven to compute what the pruned model does."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from deprune.core.errors import ConfigError, UnsupportedModelError, one_line
from deprune.core.subset import BlockSubset
from deprune.model.agreement import DIFFER, Agreement, enough_tokens
from deprune.model.depth_settings import pruned_settings, quiet
from deprune.model.pruned import PrunedModel
from deprune.record import RunRecord

MOST_LETTERS = 200
"""Of what a library says of a model that does not load or run."""


def export(pruned: PrunedModel, out: Path, record: RunRecord | None = None) -> str:
    """Writes a pruned model into a new folder, which appears only once what it computes was compared.

    Returns:
        What must be known of it, or nothing.

    Raises:
        ConfigError: The folder exists, or the weights or the treatment are not those of its run.
        UnsupportedModelError: No settings keep the blocks what they are, or the checkpoint computes something else.
    """
    check_free(out)
    if record is not None:
        _check_same(pruned, record)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with quiet():
            remark = _write(pruned, draft)
        pruned.loaded.tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(model_card(pruned, record, remark), encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return remark


def _write(pruned: PrunedModel, draft: Path) -> str:
    """Writes the weights with the settings under which they compute what they should; returns what must be known."""
    stack = pruned.loaded.stack
    text = stack.model.config.get_text_config(decoder=True)
    n_ids = min(text.vocab_size, stack.model.get_input_embeddings().num_embeddings)
    agreement = Agreement(stack, pruned.subset, enough_tokens(text, pruned.loaded.facts.context, n_ids))
    wrong = ""
    for settings in pruned_settings(stack.model, pruned.subset):
        model = _reloaded(pruned, settings, draft)
        fault = fault_of(agreement.difference, model)
        if not fault:
            return _remark(pruned, agreement, model, draft)
        wrong = wrong or fault
    raise UnsupportedModelError(
        f"The checkpoint of {pruned.loaded.config.path} without these blocks gives other logits than the pruned model "
        f"({wrong}), so nothing was written; its blocks depend on their index."
    )


def _reloaded(pruned: PrunedModel, settings: PretrainedConfig, draft: Path) -> PreTrainedModel:
    """Writes a checkpoint and reads it again."""
    config = pruned.loaded.config
    how = {"dtype": "auto", "trust_remote_code": config.trust_remote_code, "use_safetensors": True}
    try:
        with pruned.module(settings) as module:
            module.save_pretrained(draft)
        read: Any = AutoModelForCausalLM.from_pretrained
        reloaded, report = read(draft, output_loading_info=True, **how)
    except (RuntimeError, ValueError, LookupError, TypeError) as error:  # whatever the class of a model may raise
        without = f"{config.path} without these blocks cannot be written as a checkpoint that loads again"
        shared = "; its blocks share weights by their index" if _blocks_share(pruned) else ""
        reason = one_line(error)[:MOST_LETTERS]
        raise UnsupportedModelError(f"{without} ({reason}), so nothing was written{shared}.") from error
    if report["missing_keys"]:
        key, n_missing = min(report["missing_keys"]), len(report["missing_keys"])
        without = f"The checkpoint of {config.path} without these blocks would lack {n_missing} weights"
        raise UnsupportedModelError(f"{without}, such as {key}, so nothing was written.")
    model: PreTrainedModel = reloaded.eval().to(pruned.loaded.stack.model.device)
    return model


def _remark(pruned: PrunedModel, agreement: Agreement, model: PreTrainedModel, draft: Path) -> str:
    """Lets a checkpoint generate, and turns its cache off where only without it the tokens are right."""
    if not model.can_generate():
        return ""
    wrong = fault_of(agreement.difference_generating, model)
    dense = replace(agreement, subset=BlockSubset(pruned.subset.n_blocks))
    of_dense = fault_of(dense.difference_generating, pruned.loaded.stack.model) if wrong else ""
    if wrong == of_dense or all(fault.startswith(DIFFER) for fault in (wrong, of_dense)):
        return ""  # what the dense model itself does not do is no fault of the checkpoint
    if without := fault_of(partial(agreement.difference_generating, use_cache=False), model):
        by = f"generates something else than the pruned model ({without})"
        raise UnsupportedModelError(f"The checkpoint of {pruned.loaded.config.path} {by}, so nothing was written.")
    model.generation_config.use_cache = model.config.get_text_config(decoder=True).use_cache = False
    model.generation_config.save_pretrained(draft)
    model.config.save_pretrained(draft)
    return f"It generates without a cache only, which use_cache=false in its settings says: {wrong}."


def fault_of(difference: Callable[[PreTrainedModel], str], model: PreTrainedModel) -> str:
    """Returns how a model differs, or why it does not run at all; nothing where it agrees."""
    try:
        return difference(model)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        return one_line(error)[:MOST_LETTERS]


def _blocks_share(pruned: PrunedModel) -> bool:
    """Whether a weight is in more than one block."""
    weights = [{id(weight) for weight in block.parameters()} for block in pruned.loaded.stack.blocks]
    return len(set().union(*weights)) < sum(map(len, weights))


def check_free(out: Path) -> None:
    """Raises a ConfigError where something would be overwritten."""
    if out.exists():
        raise ConfigError(f"The folder {out} exists; give another in out=<folder>, or remove it first.")


def _check_same(pruned: PrunedModel, record: RunRecord) -> None:
    revision, of = pruned.loaded.facts.revision, record.provenance
    if of.model_revision != revision:
        raise ConfigError(
            f"The weights of {pruned.loaded.config.path} ({revision}) are not those of run {record.run_id} "
            f"({of.model_revision}); give the revision or folder that the run used."
        )
    if record.identity.get("treat") != pruned.treatment:
        raise ConfigError(
            f"Run {record.run_id} scored a model whose weights were changed by treat={record.factors.treatment}, "
            "which an export cannot repeat; export a run with treat=none."
        )


def model_card(pruned: PrunedModel, record: RunRecord | None, remark: str = "") -> str:
    """Returns a Hub model card that says what was removed, how it was chosen, and what it scored."""
    model, subset = pruned.loaded.config, pruned.subset
    base = f"base_model: {model.path}\n" if model.on_hub else ""
    since = "Nothing was retrained." if pruned.treatment is None else f"Treated since: {pruned.treatment['name']}."
    lines = [
        f"---\n{base}library_name: transformers\ntags: [depth-pruning, deprune]\n---\n",
        f"# {model.label} without {len(subset.removed)} of {subset.n_blocks} blocks\n",
        f"Removed blocks (0-based): {', '.join(map(str, subset.removed))}. {since}\n",
        *([f"{remark}\n"] if remark else []),
    ]
    if record is not None:
        of, removal = record.factors, record.removal
        lines += [
            f"Chosen by `{of.search}` with the objective `{of.objective}` on {of.calib_samples} samples "
            f"of {of.calib_seq_len} tokens of {of.calib_dataset} (seed {of.calib_seed}); run "
            f"{record.run_id} of deprune {record.provenance.environment['deprune']}. Objective [{removal.unit}]: "
            f"{removal.dense_loss:.4f} dense, {removal.loss:.4f} pruned.\n",
            "| task | metric | dense | pruned | standard error | items |\n| --- | --- | --- | --- | --- | --- |",
        ]
        for row in record.scores.metrics:
            if row.n_items:
                values = (row.dense_value, row.value, row.stderr)
                numbers = " | ".join("–" if value is None else f"{value:.4f}" for value in values)
                lines += [f"| {row.task} | {row.metric} | {numbers} | {row.n_items} |"]
    return "\n".join(lines) + "\n"
