"""Keeping what was expensive to make for as long as its owner lives."""

from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

KEPT = 8
"""Results of each function that are kept, unless it is said otherwise."""


class Memory:
    """The last results of functions, by their arguments; what holds it decides how long they live."""

    def __init__(self) -> None:
        self._results: dict[Hashable, dict[Hashable, Any]] = {}

    def once(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what a function gives for hashable arguments, from the last time where that is kept."""
        return self.keeping(KEPT, function, *args, **kwargs)

    def keeping(self, most: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does the same, and keeps so many results; the oldest goes before a new one is made, as models are large."""
        results = self._results.setdefault(function, {})
        key = (args, *sorted(kwargs.items()))
        if key in results:
            results[key] = results.pop(key)  # the last to go
        else:
            while len(results) >= most:
                del results[next(iter(results))]
            results[key] = function(*args, **kwargs)
        return cast(T, results[key])

    def forget(self, function: Callable[..., Any]) -> None:
        """Drops the results of a function."""
        self._results.pop(function, None)
