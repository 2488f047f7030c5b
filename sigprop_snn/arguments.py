"""Checks of a user's arguments.

Each function returns the value in a plain type, or raises an error that names the argument.
"""

# `config.py` imports this file, and the command line's help must appear at once: no torch here.

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from sigprop_snn.errors import SigpropError, UnknownNameError, shown

T = TypeVar("T")


def refused(name: str, value: object, expected: str) -> SigpropError:
    """Return the error for an argument that can't be used."""
    return SigpropError(f"{name} is {shown(value)}; expected {expected}")


def whole(name: str, value: Any, least: int | None = 1) -> int:
    """Return a whole number of any type (Python's, numpy's, a tensor without axes).

    Raises:
        SigpropError: if it is no whole number, or below `least`; None takes any.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        from_least = "" if least is None else f" from {least}"
        raise refused(name, value, f"a whole number{from_least}")
    return number


def axes(name: str, value: Any) -> tuple[int, ...]:
    """Return the sizes of axes, from 0; one whole number is one axis.

    Raises:
        SigpropError: if they are no whole numbers.
    """
    single = hasattr(value, "__index__") and not hasattr(value, "__len__")
    try:
        return tuple(whole(name, size, 0) for size in ((value,) if single else value))
    except (TypeError, SigpropError) as error:
        raise refused(name, value, "whole numbers, one for each axis") from error


def number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    valid: Callable[[float], bool] = math.isfinite,
) -> float:
    """Return a real number of any type as a float.

    Args:
        name: the argument, for the message.
        value: its value.
        expected: the valid values in words.
        valid: whether a number is valid.

    Raises:
        SigpropError: if it is no real number, or not valid.
    """
    single = getattr(value, "shape", ()) == () and hasattr(value, "item")
    plain = value.item() if single else value
    if isinstance(plain, bool) or not isinstance(plain, Real) or not valid(float(plain)):
        raise refused(name, value, expected)
    return float(plain)


def positive(name: str, value: Any) -> float:
    """Return a positive, finite number; see `number`."""
    return number(name, value, "a finite number > 0", lambda x: 0 < x < math.inf)


def not_negative(name: str, value: Any) -> float:
    """Return a finite number from 0; see `number`."""
    return number(name, value, "a finite number >= 0", lambda x: 0 <= x < math.inf)


def truth(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        SigpropError: if it is something else.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise refused(name, value, "True or False")


def one_of(kind: str, value: Any, known: Iterable[str]) -> str:
    """Return a name that is among the known ones.

    Raises:
        UnknownNameError: if it is not.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise UnknownNameError(kind, value, names)
    return value


def names_of(name: str, value: Any) -> tuple[str, ...]:
    """Return names, given one or several.

    Raises:
        SigpropError: if one is no text.
    """
    names = (value,) if isinstance(value, str) else value
    try:
        found = tuple(names)
    except TypeError:
        found = (None,)
    if not all(isinstance(each, str) for each in found):
        raise refused(name, value, "a name or several")
    return found


def function(name: str, value: Any, expected: str) -> Any:
    """Return something that can be called.

    Raises:
        SigpropError: if it can't.
    """
    if not callable(value):
        raise refused(name, value, expected)
    return value


def instance(name: str, value: Any, kind: type[T] | tuple[type[T], ...], expected: str) -> T:
    """Return a value of a type.

    Raises:
        SigpropError: if it has another type.
    """
    if not isinstance(value, kind):
        raise refused(name, value, expected)
    return value


def path(name: str, value: Any) -> Path:
    """Return a path from text or any `os.PathLike`; "~" is the home folder.

    Raises:
        SigpropError: if it is something else.
    """
    try:
        found = os.fspath(value)
    except TypeError:
        found = b""
    if not isinstance(found, str) or "\0" in found:
        raise refused(name, value, "a path: text or a Path")
    return Path(found).expanduser()


def first_of(batch: Any) -> Any:
    """Return the inputs of a batch of a loader.

    Raises:
        SigpropError: if the batch is no tuple or list.
    """
    if isinstance(batch, tuple | list) and batch:
        return batch[0]
    raise refused("a batch of batches", batch, "a pair (inputs [T, B, ...], labels [B])")
