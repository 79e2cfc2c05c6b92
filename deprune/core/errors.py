"""The errors a user can cause; their text is one sentence that says what to do."""


class DepruneError(Exception):
    """Base of all errors that are shown to the user without a traceback."""


class ConfigError(DepruneError):
    """The configuration asks for something that does not exist or cannot be."""


class UnsupportedModelError(DepruneError):
    """The model is not a decoder whose blocks can be found, run and removed."""


class DataError(DepruneError):
    """A corpus, task or file cannot be had, or holds too little."""


class RecordError(DepruneError):
    """A record cannot be written or is not what it should be."""


class AnalysisError(DepruneError):
    """The records cannot answer what is asked of them."""


def one_line(error: BaseException) -> str:
    """Returns all that a library says of an error, in one line and without the full stop at its end.

    Where it only wraps the error that holds the reason, as a validator does, it is what that one says.
    """
    text, cause = " ".join(str(error).split()), error.__cause__
    if cause is not None and (inner := " ".join(str(cause).split())) and inner in text:
        return one_line(cause)
    if isinstance(error, KeyError):
        return f"{text} is missing or unknown"
    return text.rstrip(".") or type(error).__name__


def reason_of(error: BaseException) -> str:
    """Returns the same, after the type of an error that is a library's own."""
    return one_line(error) if isinstance(error, DepruneError) else f"{type(error).__name__}: {one_line(error)}"
