"""Leaving a run in good order when the system or Ctrl-C asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopAskedError(Exception):
    """Raised between two batches once a stop was asked for."""


@dataclass
class Stop:
    """Whether a stop was asked for.

    Attributes:
        asked: the signal that asked for it, or None.
    """

    asked: signal.Signals | None = None

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items; raise `StopAskedError` in place of the next once a stop was asked for."""
        for item in items:
            if self.asked is not None:
                raise StopAskedError
            yield item


@contextmanager
def stop_on_signals(enabled: bool = True) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM within the block into a request to stop.

    The second acts as if there were no such block, so that a run which hangs can be ended.

    Args:
        enabled: False leaves the signals alone, as does any thread but the main one.
    """
    stop = Stop()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # What the parent chose to ignore, as nohup does, stays ignored.
    before = {
        number: was or signal.SIG_DFL for number, was in before.items() if was != signal.SIG_IGN
    }

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _: FrameType | None) -> None:
        stop.asked = signal.Signals(number)
        put_back()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        put_back()
