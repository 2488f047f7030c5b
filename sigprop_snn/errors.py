"""The errors that a person reads: each names the value, the place, and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class SigpropError(ValueError):
    """A value from outside (an argument, a file, a flag) that can't be used.

    The command line prints its message alone, without a traceback.
    """


class UnknownNameError(SigpropError):
    """A name that no catalogue has; the message gives the nearest one that a catalogue has.

    Args:
        kind: what is named.
        name: the unknown name.
        known: the known names.
        synonyms: names that other libraries use, with the known name for each.
    """

    def __init__(
        self,
        kind: str,
        name: object,
        known: Iterable[str],
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        names = sorted(known)
        near = (
            difflib.get_close_matches(name.lower(), names, 1, 0.4) if isinstance(name, str) else []
        )
        meant = (synonyms or {}).get(str(name).lower())
        near = [meant] if meant in names else near
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {shown(name)}.{hint} Known: {', '.join(names)}.")


def shown(value: object) -> str:
    """Return a value for a message, in one line; an array by its shape."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and len(shape) > 0:
        return f"a {type(value).__name__} of shape {list(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


class RunStoppedError(Exception):
    """A run that a signal stopped. It is saved, and the message says how to go on.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class RankLostError(Exception):
    """A process of a job has ended or does not answer. The message names its rank and the cause.

    Attributes:
        rank: its rank; None if it is not known which process it is.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
