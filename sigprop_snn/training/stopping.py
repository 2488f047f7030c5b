"""Stopping a run between two batches when Ctrl-C or the system asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

# SIGHUP comes when a terminal is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAskedError(Exception):
    """Raised between two batches after a signal asked to stop."""


@dataclass
class Stop:
    """A request to stop.

    Attributes:
        asked: the signal that asked to stop, or None.
    """

    asked: signal.Signals | None = None

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items, or raise `StopAskedError` after a request to stop."""
        for item in items:
            if self.asked is not None:
                raise StopAskedError
            yield item


@contextmanager
def stop_on_signals(enabled: bool = True) -> Iterator[Stop]:
    """Turn the first SIGINT, SIGTERM or SIGHUP in the `with` block into a request to stop.

    The second signal acts as usual, so a run that hangs can be ended.

    Args:
        enabled: False leaves the signals as they are. They also stay as they are outside the main
            thread.
    """
    stop = Stop()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # Signals that the parent process chose to ignore, as nohup does, stay ignored.
    before = {
        number: was or signal.SIG_DFL for number, was in before.items() if was != signal.SIG_IGN
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _: FrameType | None) -> None:
        stop.asked = signal.Signals(number)
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
