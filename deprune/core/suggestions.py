"""What to write instead: the name that was meant, the override that works when it is pasted into a shell."""

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

MAX_LISTED = 24

PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)$)(?:\.{0,2}/|[a-z_])[\w./:-]*", re.ASCII | re.IGNORECASE)
"""Text that Hydra reads as it is, without quotes."""


def unknown_name(what: str, wrong: str, names: Iterable[str]) -> str:
    """Returns the sentence for a name, such as of a `search`, that does not exist: the nearest, and all if few."""
    known = sorted(set(names))
    close = difflib.get_close_matches(wrong, known, cutoff=0.88) or difflib.get_close_matches(wrong, known)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    choices = f" Known: {', '.join(known)}." if 0 < len(known) <= MAX_LISTED else ""
    return f"There is no {what} '{wrong}'{hint}{choices}"


def override(key: str, value: object) -> str:
    """Returns the override that gives a key a value, to be pasted into a shell, such as `'calib.path="a b.txt"'`."""
    return shlex.quote(f"{key}={_literal(value)}")


def _literal(value: object) -> str:
    """Returns a value in Hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    return value if PLAIN.fullmatch(value) else in_quotes(re.sub(r"(\\*)\$\{", r"\1\1\\${", value))


def in_quotes(text: str) -> str:
    """Returns text in quotes for Hydra; what `${...}` stands for is still put in its place."""
    from hydra.core.override_parser.types import Quote, QuotedString

    quote = Quote.single if '"' in text and "'" not in text else Quote.double
    return QuotedString(text, quote).with_quotes()


def missing_file(path: str, key: str) -> str:
    """Returns the sentence for a file that is not there: those nearby, also where a comma made two of its name."""
    folder, name = Path(path).parent, Path(path).name
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    halves = [other for other in names if name in other.split(",")]
    close = halves or difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    hint = " or ".join(override(key, str(folder / other)) for other in close[:3])
    return f"There is no file {path}; " + (f"did you mean {hint}?" if close else f"give one that exists in {key}.")
