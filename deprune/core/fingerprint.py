"""Short stable hashes of values and files, used wherever something needs an identity."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_of(value: Any) -> str:
    """Returns 16 hexadecimal digits that identify a JSON-like value.

    Raises:
        TypeError: The value holds something that JSON cannot express.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_of_bytes([text.encode()])


def digest_of_bytes(parts: Iterable[bytes]) -> str:
    """Returns 16 hexadecimal digits that identify a sequence of byte strings."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def digest_of_files(paths: Iterable[Path]) -> str:
    """Returns 16 hexadecimal digits that identify the names and contents of files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def file_name_of(text: str) -> str:
    """Returns `text` as a single, harmless file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip(".") or "_"
