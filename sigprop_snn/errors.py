"""The errors that a person reads: each names the value, the place, and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SigpropError(ValueError):
    """A value from outside (an argument, a file, a flag) that can't be used.

    The command line prints its message alone, without a traceback.
    """


class UnknownNameError(SigpropError):
    """A name that stands in no catalogue; the message gives the nearest one that does."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


class RunStoppedError(Exception):
    """A run that a signal stopped. It is saved, and the message says how to go on.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
