"""What every picture does first: plain, checked numpy arrays out of whatever it was given."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sigprop_snn.errors import SigpropError

ArrayInput: TypeAlias = npt.ArrayLike | torch.Tensor
Array: TypeAlias = npt.NDArray[Any]


def as_array(values: ArrayInput, name: str) -> Array:
    """Return ``values`` as a numpy array of a dtype that numpy calculates with.

    Args:
        values: An array, a tensor on any device and of any dtype, or nested lists.
        name: Name of the argument, for the error.

    Returns:
        The values; half precision becomes float32.

    Raises:
        SigpropError: If the values aren't real numbers.
    """
    if isinstance(values, torch.Tensor):
        tensor = values.detach()
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
            tensor = tensor.float()
        array: Array = tensor.cpu().numpy()
    else:
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise SigpropError(f"{name} is ragged; expected an array: {error}.") from error
    if array.dtype.kind not in "buif":
        raise SigpropError(f"{name} has dtype {array.dtype}; expected real numbers.")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return array


def checked(
    values: ArrayInput, name: str, expected: str, least: int, most: int | None = None
) -> Array:
    """Return ``values`` as an array with the right number of dimensions and finite values.

    Args:
        values: What the caller gave.
        name: Name of the argument, for the error.
        expected: The shape in words, for example ``"[T, N]"``.
        least: Smallest number of dimensions.
        most: Largest number of dimensions; None for any.

    Returns:
        The checked array.

    Raises:
        SigpropError: On another number of dimensions, an empty array, NaN or infinity.
    """
    array = as_array(values, name)
    shape = list(array.shape)
    if array.ndim < least or (most is not None and array.ndim > most):
        raise SigpropError(f"{name} has shape {shape}; expected {expected}.")
    if array.size == 0:
        raise SigpropError(f"{name} is empty, with shape {shape}; expected {expected}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise SigpropError(
            f"{name} with shape {shape} holds {array[tuple(place)]} at {place}; "
            f"expected finite numbers, {expected}."
        )
    return array


def checked_spikes(values: ArrayInput, name: str, expected: str = "[T, ...]") -> Array:
    """Return spikes as ``[T, N]``, flattened past time, after a check that they're whole."""
    flat = flatten_time(checked(values, name, expected, 1))
    if not is_whole(flat):
        raise SigpropError(
            f"{name} with shape {list(np.shape(flat))} holds fractions (up to {flat.max():.3g}); "
            f"expected spikes {expected} of 0 and 1, or whole counts."
        )
    return flat


def same_shape(array: Array, name: str, like: Array, like_name: str) -> None:
    """Raise a SigpropError unless both arrays have one shape."""
    if array.shape != like.shape:
        raise SigpropError(
            f"{name} has shape {list(array.shape)}; "
            f"expected {list(like.shape)}, the shape of {like_name}."
        )


def flatten_time(array: Array) -> Array:
    """Return ``[T, ...]`` as ``[T, N]``."""
    return array.reshape(array.shape[0], -1)


def is_whole(array: Array) -> bool:
    """Tell whether all values are whole numbers, as spikes and counts are."""
    return array.dtype.kind in "bui" or bool((array == np.round(array)).all())


def thin_step(count: int, limit: int, name: str) -> int:
    """Return k so that every k-th of ``count`` things is at most ``limit`` things.

    A k above one shares no factor with ``count``, so it never picks the same column of every
    feature map.

    Args:
        count: How many there are.
        limit: How many may be drawn.
        name: Name of the limit's argument, for the error.

    Returns:
        The k; 1 where nothing is left out.
    """
    if limit < 1:
        raise SigpropError(f"{name} is {limit}; expected at least 1.")
    if count <= limit:
        return 1
    step = -(-count // limit)
    while math.gcd(step, count) != 1:
        step += 1
    return step


def ordinal(number: int) -> str:
    """Return 2 as ``2nd``, 13 as ``13th``."""
    if number % 100 in (11, 12, 13):
        return f"{number:,}th"
    return f"{number:,}" + {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def said_thinned(count: int, step: int, things: str) -> str:
    """Return the words for ``count`` things of which every ``step``-th is drawn."""
    if step == 1:
        return f"{count:,} {things if count != 1 else things.removesuffix('s')}"
    return f"every {ordinal(step)} of {count:,} {things}"
