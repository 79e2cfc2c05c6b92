"""The files of a model's folder: which of them are read for it, and what is wrong with those that cannot be."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

GENERATION = "generation_config.json"
SETTINGS = ("config.json", GENERATION)

VOCABULARY = (
    *("tokenizer.json", "*vocab*.json", "*vocab*.txt", "merges.txt", "bpe.codes", "dict.txt"),
    *("*.model", "*.spm", "*.tiktoken"),
)
"""Files that a tokenizer's tokens are read from, as the tokenizers of transformers name them."""

TOKENIZER = (
    *VOCABULARY,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)

POINTER = b"version https://git-lfs"
IS_POINTER = "is a Git LFS pointer in place of the file; fetch the file itself, as with `git lfs pull`"


def files_read(folder: Path, *, with_code: bool) -> Iterator[Path]:
    """Yields the files that a model and its tokenizer are read from: the code too where it may run, nothing else."""
    patterns = (*SETTINGS, *TOKENIZER, *(["*.py"] if with_code else []))
    yield from {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    yield from (path for path in weight_files(folder) if path.is_file())


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of weights that transformers takes, be they there or not: one, or an index and its parts."""
    index = folder / INDEX
    if (folder / WHOLE).is_file() or not index.is_file():
        return [folder / WHOLE]
    return [index, *(folder / name for name in parts_of(index.read_bytes()))]


def parts_of(index: bytes) -> list[str]:
    """Returns the names of the files that an index of weights names; none where it is no such index."""
    try:
        return sorted({*json.loads(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def heads_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the type and shape of each weight as a folder's files state them; nothing where they cannot be loaded."""
    heads: dict[str, dict[str, Any]] = {}
    for path in () if fault_of_weights(folder) else (path for path in weight_files(folder) if path.name != INDEX):
        with path.open("rb") as file:
            heads |= json.loads(file.read(int.from_bytes(file.read(8), "little")))
    heads.pop("__metadata__", None)
    return heads


def holds_vocabulary(folder: Path) -> bool:
    """Whether a folder holds a file that a tokenizer could be made from."""
    return any(path.is_file() for pattern in VOCABULARY for path in folder.glob(pattern))


def fault_of_settings(folder: Path, patterns: Sequence[str]) -> str | None:
    """Returns what is wrong with the first of some files of settings that is no JSON object; None if all are."""
    paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.suffix == ".json")
    faults = ((path.name, _fault_of_json(path.read_bytes())) for path in paths)
    return next((f"its {name} {fault}" for name, fault in faults if fault is not None), None)


def _fault_of_json(content: bytes) -> str | None:
    if content.startswith(POINTER):
        return IS_POINTER
    try:
        is_object = isinstance(json.loads(content), dict)
    except ValueError as error:
        return f"is not valid JSON: {error}"
    return None if is_object else "is JSON, but no object with names"


def fault_of_weights(folder: Path) -> str | None:
    """Returns what is wrong with a folder's files of weights, and what to do; None if nothing is."""
    files = weight_files(folder)
    if not files[0].is_file():
        return _fault_of_no_weights(folder)
    if files[0].name == INDEX and len(files) == 1:
        return f"{INDEX} is no index of weights; fetch it again"
    if missing := [path.name for path in files if not path.is_file()]:
        lacks = f"{INDEX} names {len(missing)} of {len(files) - 1} files that are not there ({missing[0]}"
        return f"{lacks}{', …' if missing[1:] else ''}); fetch all of them"
    faults = ((path.name, _fault_of_file(path)) for path in files if path.name != INDEX)
    return next((f"{name} {fault}" for name, fault in faults if fault is not None), None)


def _fault_of_no_weights(folder: Path) -> str:
    if others := sorted(path.name for path in folder.glob("*.safetensors")):
        some = ", ".join(others[:2]) + ", …" * (len(others) > 2)
        return f"it holds {some} but neither {WHOLE} nor an index that names its parts, {INDEX}; fetch that too"
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5"))
    instead = f" but {pickled[0]}" if pickled else ""
    return f"it holds no {WHOLE}{instead}; they must be safetensors, for pickled ones can run code"


def _fault_of_file(path: Path) -> str | None:
    """Returns what is wrong with a file of safetensors, judged by its head and its size."""
    with path.open("rb") as file:
        start = file.read(len(POINTER))
        if start == POINTER:
            return IS_POINTER
        file.seek(0)
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        try:
            head = json.loads(file.read(length)) if 8 + length <= size else {}
            end = max(entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"is no file of safetensors or was cut short (it has {size} bytes); fetch it again"
    if size != 8 + length + end:
        return f"has {size} bytes where its head says {8 + length + end}; fetch it again"
    return None
