"""Checks of the numbers that a model is made with."""

from __future__ import annotations

import math
from collections.abc import Callable

from sigprop_snn.arguments import number, refused


def check_number(
    model: object,
    name: str,
    value: float,
    expected: str = "a finite number",
    valid: Callable[[float], bool] = math.isfinite,
) -> float:
    """Return one setting of a model as a float.

    Args:
        model: the model, or its name, for the error message.
        name: the name of the setting.
        value: any real number: Python's, numpy's, or a tensor without axes.
        expected: the valid values in words, for the error message.
        valid: returns whether a number is valid.

    Raises:
        SigpropError: if the value is not one real number, is not valid, or learns.
    """
    place = f"{name} of {model if isinstance(model, str) else type(model).__name__}"
    many = isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0
    learns = getattr(value, "requires_grad", False)
    if name in ("beta", "threshold") and (many or learns):
        expected += f" (ParametricLIF has one {name} for each neuron, and can learn it)"
    if learns:  # its value would be taken, and would not learn
        raise refused(place, value, expected)
    return number(place, value, expected, valid)


def check_positive(model: object, name: str, value: float) -> float:
    """Return a setting that must be positive and finite; see `check_number`."""
    return check_number(model, name, value, "a finite number > 0", lambda x: 0 < x < math.inf)


def check_fraction(model: object, name: str, value: float) -> float:
    """Return the fraction of a variable that remains after one step; see `check_number`."""
    return check_number(model, name, value, "a number from 0 to 1", lambda x: 0 <= x <= 1)


def check_below(model: object, name: str, value: float, threshold: float) -> float:
    """Return a voltage that must be below the threshold; see `check_number`."""
    return check_number(
        model,
        name,
        value,
        f"a voltage below the threshold {threshold}",
        lambda x: -math.inf < x < threshold,
    )
