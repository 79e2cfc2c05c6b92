"""Help for a misspelt name."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 24


def unknown_name(what: str, wrong: str, names: Iterable[str]) -> str:
    """Returns the sentence for a name, such as of a `search`, that does not exist: the nearest, and all if few."""
    known = sorted(set(names))
    close = difflib.get_close_matches(wrong, known, cutoff=0.88) or difflib.get_close_matches(wrong, known)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    choices = f" Known: {', '.join(known)}." if 0 < len(known) <= MAX_LISTED else ""
    return f"There is no {what} '{wrong}'{hint}{choices}"
