"""The evaluation store: every loss of every sample, shared by all jobs, searches and sample counts.

One folder per context (model, dtype, attention, objective); in it one append-only shard per
writer, so that any number of processes and machines can write without locks. A shard is lines of

    <checksum> {"samples": "<set>", "keys": [...]}                     a set of samples, before its use
    <checksum> {"samples": "<set>", "subset": "0100…", "sums": [...], "counts": [...]}
    <checksum> {"statistic": "<name> <set>", "values": [...]}           of the dense model's hidden states

A line whose checksum does not fit (torn by a kill, or damaged) is skipped and counted.
"""

import json
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from deprune.core.errors import RecordError
from deprune.core.fingerprint import digest_of

SampleLoss = tuple[float, float]
"""Sum and count of the loss terms of one sample."""


class EvaluationStore:
    """The losses of one context.

    Args:
        folder: Where the shards of this context lie; created with the first line written. None
            remembers in memory alone.
        fresh: Believe nothing that was stored before, and add to it all the same.

    Attributes:
        n_damaged: Number of lines that were skipped.
    """

    def __init__(self, folder: Path | None, *, fresh: bool = False) -> None:
        self._folder = folder
        self._fresh = fresh
        self._known: dict[str, dict[str, SampleLoss]] = {}
        self._sets: dict[str, list[str]] = {}
        self._statistics: dict[str, list[Any]] = {}
        self._read_up_to: dict[Path, int] = {}
        self._shard: IO[bytes] | None = None
        self._announced: set[str] = set()
        self.n_damaged = 0
        self.refresh()

    @property
    def name(self) -> str:
        """The name of the folder."""
        return "" if self._folder is None else self._folder.name

    def get(self, subset: str) -> dict[str, SampleLoss]:
        """Returns the known losses of a subset (given as digits) by sample key."""
        return self._known.get(subset, {})

    def put(self, subset: str, keys: Sequence[str], sums: Sequence[float], counts: Sequence[float]) -> None:
        """Remembers the losses of a subset on some samples; it outlives a kill once this returns.

        Raises:
            RecordError: The store cannot be written.
        """
        self._learn(subset, keys, sums, counts)
        if self._folder is None:
            return
        name = digest_of(list(keys))
        if name not in self._announced:
            self._announce(name, keys)
        self._append({"samples": name, "subset": subset, "sums": list(sums), "counts": list(counts)})

    def announce(self, keys: Sequence[str]) -> None:
        """Gives a set of samples its name, so that a reader who has the name finds their keys.

        Raises:
            RecordError: The store cannot be written.
        """
        name = digest_of(list(keys))
        if name not in self._sets:
            self._announce(name, keys)

    def _announce(self, name: str, keys: Sequence[str]) -> None:
        self._append({"samples": name, "keys": list(keys)})
        self._announced.add(name)
        self._sets[name] = list(keys)

    def keys_of(self, name: str) -> list[str] | None:
        """Returns the keys of a set of samples by its name, or None where it is not known."""
        return self._sets.get(name)

    def subsets(self) -> list[str]:
        """Returns all subsets of which some loss is known."""
        return list(self._known)

    def statistic(self, name: str) -> list[Any] | None:
        """Returns the values of a statistic, or None where it is not known."""
        return self._statistics.get(name)

    def put_statistic(self, name: str, values: list[Any]) -> None:
        """Remembers a statistic.

        Raises:
            RecordError: The store cannot be written.
        """
        self._statistics[name] = values
        self._append({"statistic": name, "values": values})

    def refresh(self) -> None:
        """Reads what other writers have added since the last time."""
        if self._fresh or self._folder is None:
            return
        for path in sorted(self._folder.glob("*.jsonl")):
            if self._shard is None or path.name != Path(self._shard.name).name:
                for line in self._new_lines(path):
                    self._take(line)

    def is_intact(self) -> bool:
        """Whether all shards that were read or written are still there."""
        own = [] if self._shard is None else [Path(self._shard.name)]
        return all(path.is_file() for path in (*self._read_up_to, *own))

    def _append(self, line: dict[str, Any]) -> None:
        if self._folder is None:
            return
        try:
            if self._shard is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._shard = (self._folder / f"{uuid.uuid4().hex}.jsonl").open("ab", buffering=0)
            # Unbuffered: it outlives this process, whatever happens to it. A disk that fills up takes a part.
            rest = memoryview(_encode(line))
            while rest:
                rest = rest[self._shard.write(rest) :]
        except OSError as error:
            raise RecordError(
                f"The evaluation store {self._folder} cannot be written: {error.strerror}; choose another folder "
                "with results_dir=<folder>."
            ) from error

    def _new_lines(self, path: Path) -> Iterator[bytes]:
        """Yields the complete lines of a shard that were not read before."""
        with path.open("rb") as file:
            file.seek(self._read_up_to.get(path, 0))
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._read_up_to[path] = self._read_up_to.get(path, 0) + whole
        yield from data[:whole].split(b"\n")[:-1]

    def _take(self, line: bytes) -> None:
        try:
            content = _decode(line)
            if "statistic" in content:
                self._statistics[_typed(content["statistic"], str)] = _typed(content["values"], list)
            elif "keys" in content:
                self._sets[_typed(content["samples"], str)] = [_typed(key, str) for key in content["keys"]]
            else:
                keys = self._sets[content["samples"]]  # missing where the line that named its samples was lost
                sums, counts = ([_typed(x, (float, int)) for x in content[name]] for name in ("sums", "counts"))
                self._learn(_typed(content["subset"], str), keys, sums, counts)
        except (KeyError, TypeError, ValueError, RecursionError):
            self.n_damaged += 1

    def _learn(self, subset: str, keys: Sequence[str], sums: Sequence[float], counts: Sequence[float]) -> None:
        losses = {key: (s, c) for key, s, c in zip(keys, sums, counts, strict=True)}
        self._known.setdefault(subset, {}).update(losses)


def _encode(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> dict[str, Any]:
    """Returns the content of a line.

    Raises:
        ValueError: Its checksum does not fit.
    """
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("the checksum does not fit")
    content: dict[str, Any] = _typed(json.loads(text), dict)
    return content


def _typed(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not {kind}")
    return value
