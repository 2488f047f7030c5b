"""Checks of the numbers that a model is made with."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real

import numpy as np
from torch import Tensor

from sigprop_snn.errors import SigpropError


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
        value: any real number: Python's, numpy's, or a tensor without dimensions.
        expected: the valid values in words, for the error message.
        valid: returns whether a number is valid.

    Raises:
        SigpropError: if the value is not one real number, or is not valid.
    """
    number = _as_float(value)
    if number is not None and valid(number):
        return number
    model_name = model if isinstance(model, str) else type(model).__name__
    many = isinstance(value, Tensor | np.ndarray | list | tuple)
    hint = f" (ParametricLIF has one {name} for each neuron, and can learn it)"
    hint = hint if many and name in ("beta", "threshold") else ""
    raise SigpropError(f"{name} of {model_name} is {_shown(value)}; expected {expected}{hint}")


def check_positive(model: object, name: str, value: float) -> float:
    """Return a setting that must be positive and finite; see `check_number`."""
    return check_number(model, name, value, "a positive number", lambda x: 0 < x < math.inf)


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


def check_count(model: object, name: str, value: int) -> int:
    """Return a setting that must be a whole number from 0.

    Raises:
        SigpropError: if it is not.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    if count < 0:
        raise SigpropError(
            f"{name} of {type(model).__name__} is {_shown(value)}; expected a whole number from 0"
        )
    return count


def _as_float(value: object) -> float | None:
    """Return one real number as a float, and None for anything else."""
    if isinstance(value, Tensor):
        single = value.dim() == 0 and not value.requires_grad and not value.is_complex()
        return float(value) if single else None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return float(value)


def _shown(value: object) -> str:
    if isinstance(value, Tensor) and value.requires_grad:
        return f"a learnable tensor of shape {list(value.shape)}"
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0:
        return f"an array of shape {list(value.shape)}"
    return repr(value) if isinstance(value, str) else str(value)
