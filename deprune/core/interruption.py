"""Stopping at Ctrl-C, SIGTERM (a time limit, a preemption) and SIGHUP (a lost terminal) without tearing anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANGUP = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)  # `nohup` has it ignored
SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANGUP)


class Interrupted(BaseException):
    """The process was told to stop. No `Exception`, so that no library takes it for a failure of its own.

    Attributes:
        signal: The signal that told it.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"Interrupted by {self.signal.name}")

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:
        """Lets it come back from the process of a worker."""
        return type(self), (int(self.signal),)

    @property
    def exit_code(self) -> int:
        """The code with which shells and schedulers see a process end by this signal."""
        return 128 + self.signal


@contextmanager
def interruptible(second: signal.Handlers = signal.SIG_DFL) -> Iterator[None]:
    """Raises `Interrupted` inside at the first signal, or at the end where a library made an error of it or nothing.

    Further signals do what `second` says; by default they end the process at once.
    """
    arrived: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        arrived.append(number)
        handle_by(second)
        raise Interrupted(number)

    with _handled_by(interrupt):
        try:
            yield
        except Exception:
            if not arrived:
                raise
    if arrived:
        raise Interrupted(arrived[0])


def handle_by(handler: signal._HANDLER) -> None:
    """Sets what these signals do in this process."""
    for each in SIGNALS:
        signal.signal(each, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Lets signals that arrive inside wait until the end of the block."""
    arrived: list[int] = []
    try:
        with _handled_by(lambda number, _: arrived.append(number)):
            yield
    finally:
        for number in arrived[:1]:
            signal.raise_signal(number)


@contextmanager
def _handled_by(handler: signal._HANDLER) -> Iterator[None]:
    """Python handles signals in the main thread, whatever thread they reach; the others see none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous if previous is not None else signal.SIG_DFL)
