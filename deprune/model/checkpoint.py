"""Pruned models as ordinary checkpoints, proven to give the pruned model's logits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from deprune.core.errors import ConfigError, UnsupportedModelError
from deprune.core.subset import BlockSubset
from deprune.model.load import ModelConfig, load_model
from deprune.model.prune import prune_blocks
from deprune.record.schema import RunRecord

PROBE_SHAPE = (2, 16)
"""Sequences and tokens on which the checkpoint is compared."""


def export(model: ModelConfig, removed: Iterable[int], out: Path, record: RunRecord | None) -> None:
    """Writes the model without some blocks; `out` appears only once its logits were compared.

    Args:
        model: The dense model.
        removed: The blocks to remove.
        out: A folder that does not exist.
        record: The run that chose the blocks, for the model card.

    Raises:
        ConfigError: The folder exists, a block does not, or the weights are not those of the run.
        UnsupportedModelError: The checkpoint gives other logits than the pruned model, as when
            blocks depend on their index.
    """
    if out.exists():
        raise ConfigError(f"The folder {out} exists; give another in out=<folder>, or remove it first.")
    loaded = load_model(model, "cpu", "auto")
    if record is not None and record.model_revision != loaded.facts.revision:
        raise ConfigError(
            f"The weights of {model.path} ({loaded.facts.revision}) are not those of run {record.run_id} "
            f"({record.model_revision}); give the revision or folder that the run used."
        )
    subset = BlockSubset.of(loaded.facts.n_blocks, removed)
    pruned = loaded.stack.model
    ids_BT = torch.randint(pruned.config.get_text_config().vocab_size, PROBE_SHAPE, generator=torch.Generator())
    expected = loaded.stack.run(ids_BT, subset)
    prune_blocks(pruned, subset)
    load_model.cache_clear()  # what it holds is no longer the dense model
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        pruned.save_pretrained(draft)
        loaded.tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(model_card(model, subset, record), encoding="utf-8")
        _compare(draft, ids_BT, expected, model)
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def model_card(model: ModelConfig, subset: BlockSubset, record: RunRecord | None) -> str:
    """Returns a Hub model card that says what was removed, how it was chosen, and what it scored."""
    base = f"base_model: {model.path}\n" if model.on_hub else ""
    lines = [
        f"---\n{base}library_name: transformers\ntags: [depth-pruning, deprune]\n---\n",
        f"# {model.label} without {len(subset.removed)} of {subset.n_blocks} blocks\n",
        f"Removed blocks (0-based): {', '.join(map(str, subset.removed))}. Nothing was retrained.\n",
    ]
    if record is not None:
        lines += [
            f"Chosen by `{record.search}` with the objective `{record.objective}` on {record.calib_samples} samples "
            f"of {record.calib_seq_len} tokens of {record.calib_dataset} (seed {record.calib_seed}); run "
            f"{record.run_id} of deprune {record.environment['deprune']}. Objective [{record.unit}]: "
            f"{record.calib_value_dense:.4f} dense, {record.calib_value:.4f} pruned.\n",
            "| task | metric | dense | pruned | standard error | items |\n| --- | --- | --- | --- | --- | --- |",
            *(
                f"| {row.task} | {row.metric} | {row.dense_value:.4f} | {row.value:.4f} | {row.stderr:.4f} "
                f"| {row.n_items} |"
                for row in record.metrics
            ),
        ]
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def _compare(folder: Path, ids_BT: Tensor, expected: Tensor, model: ModelConfig) -> None:
    """Reloads a checkpoint and makes sure that it gives the expected logits."""
    reloaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", trust_remote_code=model.trust_remote_code, use_safetensors=True
    ).eval()
    difference = (reloaded(ids_BT, use_cache=False).logits - expected).abs().max().item()
    tolerance = 16 * torch.finfo(expected.dtype).eps * expected.abs().max().item()
    if not difference <= tolerance:
        raise UnsupportedModelError(
            f"The checkpoint of {model.path} without these blocks gives other logits than the pruned model "
            f"(they differ by {difference:.2g}, more than rounding), so nothing was written; its blocks depend on "
            "their index."
        )
