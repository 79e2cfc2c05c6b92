"""Help for a misspelt name."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 24


def unknown_name(what: str, wrong: str, names: Iterable[str]) -> str:
    """Returns the sentence for a name that does not exist: the nearest, and all where they are few.

    Args:
        what: What kind of name it is, such as `search`.
        wrong: The name that was given.
        names: The names that exist.
    """
    known = sorted(set(names))
    close = difflib.get_close_matches(wrong, known, cutoff=0.88) or difflib.get_close_matches(wrong, known)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    choices = f" Known: {', '.join(known)}." if 0 < len(known) <= MAX_LISTED else ""
    return f"There is no {what} '{wrong}'{hint}{choices}"
