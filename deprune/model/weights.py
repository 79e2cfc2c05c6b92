"""Whether the weights in a model's files are those of the model that its configuration describes.

transformers fills in what is missing with random numbers, leaves out what is surplus, and only warns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from deprune.core.errors import UnsupportedModelError
from deprune.model.source import ModelConfig
from deprune.model.structure import block_list

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Shapes = tuple[str, Sequence[int], Sequence[int]]
"""Name of a weight, its shape in the file, and by the configuration."""

NO_WEIGHTS = (
    r"(^|\.)(inv_freq|original_inv_freq|position_ids|masked_bias|causal_mask|cos_cached|sin_cached|_extra_state)$"
    r"|\.(attn|attention)\.bias$"
)
"""What older versions have left in files and newer ones compute: frequencies of rotary positions, masks."""

PACKED = r"\.(qweight|weight_packed|weight_scale\w*|SCB|absmax)$"
ADAPTED = r"\.(lora_[AB]\b.*|base_layer\.\w+)$"
HEADS = r"^(score|classifier|classification_head|qa_outputs)\."


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Files against a model, by the names of weights.

    Attributes:
        n_blocks: How many blocks the model has.
        held: The numbers of the blocks that the files hold, or of which they hold a part.
        n_weights: How many weights the model has, tied ones once.
        missing: Those that are not in the files.
        reshaped: Those of another shape.
        surplus: Those of the files that the model has no place for, and that would take part in what it computes.
        foreign: All those of the files that it has no place for.
    """

    n_blocks: int
    held: Set[int]
    n_weights: int
    missing: Set[str]
    reshaped: Sequence[Shapes]
    surplus: Set[str]
    foreign: Set[str]


def check_fit(config: ModelConfig, model: PreTrainedModel, info: Mapping[str, Collection[Any]]) -> None:
    """Makes sure that a model is what its weights say, by what `from_pretrained` tells of loading it (`info`).

    It must have been told to ignore mismatched sizes, so that it tells of all of them.
    Harmless surplus is let be: another tower or head, and buffers that are computed.

    Raises:
        UnsupportedModelError: Weights are missing, surplus, or of another shape, or those of an adapter.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        adapter = f"{config.path} holds an adapter (adapter_config.json), which transformers adds to another model"
        raise UnsupportedModelError(f"{adapter}; merge it into that model, and give the folder of the whole.")
    fit = fit_of(model, info)
    if fit.missing or fit.reshaped or fit.surplus:
        raise UnsupportedModelError(f"{_what(config.path, fit)}; {_why(config, model, fit)}.")


def check_numbers(config: ModelConfig, model: PreTrainedModel) -> None:
    """Raises an UnsupportedModelError where weights are not finite numbers, with the name of the first."""
    for name, weight in model.named_parameters():
        is_here = weight.device.type != "meta" and weight.is_floating_point() and weight.itemsize > 1
        if not is_here or weight.sum().isfinite():  # the sum is quick, but may overflow
            continue
        if n_bad := int((~weight.isfinite()).sum()):
            bad = f"{n_bad} of the {weight.numel()} numbers of {name} in the weights of {config.path} are not finite"
            raise UnsupportedModelError(f"{bad}; take weights that are.")


def check_stored(config: ModelConfig, model: PreTrainedModel, heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises an UnsupportedModelError where a file stores whole numbers that transformers took for weights as they are.

    They are quantised, and config.json does not say how.
    """
    weights = {} if hasattr(model.config, "quantization_config") else dict(model.named_parameters())
    for name, head in heads.items():
        if name in weights and weights[name].is_floating_point() and head["dtype"][0] in "IU":
            stored = f"{name} is stored in whole numbers ({head['dtype']}) in the files of {config.path}"
            raise UnsupportedModelError(f"{stored}: they are quantised; take the unquantised repository.")


def fit_of(model: PreTrainedModel, info: Mapping[str, Collection[Any]]) -> Fit:
    """Returns how files fit a model; `info` as for `check_fit`."""
    path, blocks = block_list(model)
    buffers = {name for name, _ in model.named_buffers()} & {*model.state_dict()}
    weights = {name for name, _ in model.named_parameters()} | buffers
    missing = weights & {*info["missing_keys"]}
    modules = {name for name, _ in model.named_modules()}
    foreign = {_in_full(key, model.base_model_prefix, modules) for key in info["unexpected_keys"]}
    surplus = {key for key in foreign if _takes_part(key, path, _head(model), modules)}
    bare = {i for i, block in enumerate(blocks) if not block.state_dict()}
    return Fit(
        n_blocks=len(blocks),
        held=bare | _numbers(path, (weights - missing) | surplus),
        n_weights=len(weights),
        missing=missing,
        reshaped=sorted((name, tuple(there), tuple(here)) for name, there, here in info["mismatched_keys"]),
        surplus=surplus,
        foreign=foreign,
    )


def _numbers(path: str, names: Iterable[str]) -> set[int]:
    found = (re.match(re.escape(path) + r"\.(\d+)\.", name) for name in names)
    return {int(match[1]) for match in found if match}


def _owner(key: str, modules: Set[str]) -> str:
    """Returns the innermost module of a model that a name leads into; the root is the empty name."""
    while key not in modules:
        key = key.rpartition(".")[0]
    return key


def _in_full(key: str, base: str, modules: Set[str]) -> str:
    """Returns a name as the whole model has it; files of the class without a head leave out the first part."""
    full = f"{base}.{key}"
    return full if _owner(key, modules) == "" and _owner(full, modules) not in ("", base) else key


def _head(model: PreTrainedModel) -> str:
    head = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is head), "")


def _takes_part(key: str, blocks: str, head: str, modules: Set[str]) -> bool:
    """Whether a weight without a place would change the logits if it had one.

    It would in the decoder, whose parts lie beside its blocks, and in the head; a part with parts of its own that the
    model lacks is another tower.
    """
    if re.search(NO_WEIGHTS, key):
        return False
    owner, decoder = _owner(key, modules), blocks.rpartition(".")[0]
    if owner == decoder:
        return key.removeprefix(f"{decoder}.").count(".") < 2
    return owner == head or owner.startswith(f"{decoder}." if decoder else "")


def _what(model: str, fit: Fit) -> str:
    """Returns what does not fit, with counts and the first names."""
    if fit.reshaped:
        name, there, here = fit.reshaped[0]
        shapes = f"{name} is {there} in the files and {here} by config.json"
        return f"{len(fit.reshaped)} of {fit.n_weights} weights of {model} have another shape ({shapes})"
    if fit.held and fit.held != {*range(fit.n_blocks)}:
        held = f"its files hold those of {len(fit.held)} ({_ranges(fit.held)})"
        return f"The config.json of {model} describes a model of {fit.n_blocks} blocks, and {held}"
    if fit.missing:
        return f"{len(fit.missing)} of {fit.n_weights} weights of {model} are not in its files ({_some(fit.missing)})"
    some = f"{len(fit.surplus)} of the weights in its files ({_some(fit.surplus)})"
    return f"The model that the config.json of {model} describes has no place for {some}"


def _why(config: ModelConfig, model: PreTrainedModel, fit: Fit) -> str:
    """Returns the likely reason, and what to do."""
    if getattr(model.config, "auto_map", None) and not config.trust_remote_code:
        unused = "it brings its own code (auto_map), which was not used"
        return f"{unused}: read that code, then allow it with model.trust_remote_code=true"
    for pattern, reason in (
        (PACKED, "they are quantised: take the unquantised repository"),
        (ADAPTED, "an adapter is not merged into them: merge it, and save the whole"),
    ):
        if any(re.search(pattern, key) for key in fit.foreign):
            return reason
    if fit.reshaped or not fit.missing or fit.held - {*range(fit.n_blocks)}:
        return "take weights and a config.json that belong together"
    if fit.missing <= {f"{_head(model)}.weight", f"{_head(model)}.bias"}:
        return _why_without_head(fit.foreign)
    if renamed := _renamed(fit):
        there, here = renamed
        instead = f" in place of '{here}'" if here else ""
        return f"their names begin with '{there}' there{instead}; save them again under the names of the model itself"
    if others := fit.surplus or (fit.foreign if 2 * len(fit.missing) > fit.n_weights else set()):
        kind = f"as of other code or of another type than {model.config.model_type}"
        return f"other names are there ({_some(others)}), {kind}; take weights that belong to config.json"
    return "fetch all of them, or take a config.json that belongs to them"


def _why_without_head(foreign: Set[str]) -> str:
    if others := [key for key in foreign if re.search(HEADS, key)]:
        return f"they are those of a classifier ({others[0]}), which tells no tokens; take a language model"
    return 'it was saved without its head; if that is the embedding, say "tie_word_embeddings": true in config.json'


def _renamed(fit: Fit) -> tuple[str, str] | None:
    """Returns how most of the missing names begin in the files, and in the model; None where that is not all."""
    wanted = max(fit.missing, key=lambda name: (name.count("."), name))
    found = max(fit.foreign, key=lambda key: (_same_end(key, wanted), key), default="")
    same = _same_end(found, wanted)
    there, here = _beginning(found, same), _beginning(wanted, same)
    n_there = sum(here + key.removeprefix(there) in fit.missing for key in fit.foreign if key.startswith(there))
    return (there, here) if there and 2 * n_there > len(fit.missing) else None


def _same_end(one: str, other: str) -> int:
    """Returns how many last parts two names have in common."""
    pairs = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _beginning(name: str, n_last: int) -> str:
    """Returns a name without its last parts."""
    parts = name.split(".")
    return "".join(f"{part}." for part in parts[: len(parts) - n_last])


def _some(names: Set[str]) -> str:
    first = sorted(names)[:2]
    return ", ".join(first) + ", …" * (len(names) > len(first))


def _ranges(numbers: Set[int]) -> str:
    """Returns numbers as words: `0 to 4, 6 to 11`."""
    starts = sorted(i for i in numbers if i - 1 not in numbers)
    ends = sorted(i for i in numbers if i + 1 not in numbers)
    return ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
