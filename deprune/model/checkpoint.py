"""Pruned models as ordinary checkpoints, proven to give the pruned model's logits."""

import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.model.pruned import PrunedModel
from deprune.model.source import ModelConfig
from deprune.record import RunRecord


def export(pruned: PrunedModel, out: Path, record: RunRecord | None = None) -> None:
    """Writes a pruned model into a new folder, which appears only once its logits were compared.

    Raises:
        ConfigError: The folder exists, or the weights or the treatment are not those of its run.
        UnsupportedModelError: The checkpoint gives other logits than the model, as when blocks depend on their index.
    """
    check_free(out)
    loaded = pruned.loaded
    if record is not None:
        _check_same(pruned, record)
    vocabulary = loaded.stack.model.config.get_text_config().vocab_size
    ids_BT = torch.randint(vocabulary, (2, 16), generator=torch.Generator())
    expected = loaded.stack.run(ids_BT, pruned.subset)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with pruned.module() as model:
            model.save_pretrained(draft)
        loaded.tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(model_card(pruned, record), encoding="utf-8")
        _compare(draft, ids_BT, expected, loaded.config)
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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


def model_card(pruned: PrunedModel, record: RunRecord | None) -> str:
    """Returns a Hub model card that says what was removed, how it was chosen, and what it scored."""
    model, subset = pruned.loaded.config, pruned.subset
    base = f"base_model: {model.path}\n" if model.on_hub else ""
    since = "Nothing was retrained." if pruned.treatment is None else f"Treated since: {pruned.treatment['name']}."
    lines = [
        f"---\n{base}library_name: transformers\ntags: [depth-pruning, deprune]\n---\n",
        f"# {model.label} without {len(subset.removed)} of {subset.n_blocks} blocks\n",
        f"Removed blocks (0-based): {', '.join(map(str, subset.removed))}. {since}\n",
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


@torch.inference_mode()
def _compare(folder: Path, ids_BT: Tensor, expected: Tensor, model: ModelConfig) -> None:
    """Reloads a checkpoint and makes sure that it gives the expected logits."""
    how = {"dtype": "auto", "trust_remote_code": model.trust_remote_code, "use_safetensors": True}
    reloaded = AutoModelForCausalLM.from_pretrained(folder, **how).eval()
    difference = (reloaded(ids_BT, use_cache=False).logits - expected).abs().max().item()
    tolerance = 16 * torch.finfo(expected.dtype).eps * expected.abs().max().item()
    if not difference <= tolerance:
        wrong = f"The checkpoint of {model.path} without these blocks gives other logits than the pruned model"
        by = f"(they differ by {difference:.2g}, more than rounding)"
        raise UnsupportedModelError(f"{wrong} {by}, so nothing was written; its blocks depend on their index.")
