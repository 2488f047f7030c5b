"""Turns the arguments of the pictures into checked numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sigprop_snn.arguments import instance, whole
from sigprop_snn.errors import SigpropError, shown

ArrayInput: TypeAlias = npt.ArrayLike | torch.Tensor
Array: TypeAlias = npt.NDArray[Any]


def as_array(name: str, values: ArrayInput) -> Array:
    """Return an array, a tensor or nested lists as a numpy array; half becomes float32.

    Raises:
        SigpropError: if the values of the argument `name` aren't real numbers.
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
            raise SigpropError(f"{name} is ragged; expected an array: {error}") from error
    if array.dtype.kind not in "buif":
        raise SigpropError(f"{name} has dtype {array.dtype}; expected real numbers")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return array


def checked(
    name: str, values: ArrayInput, expected: str, least: int, most: int | None = None
) -> Array:
    """Return the values as an array of `least` to `most` dimensions, with finite values.

    `expected` is the shape in words, for example `"[T, N]"`.

    Raises:
        SigpropError: if the array has another number of dimensions, is empty, or holds NaN or
            infinity.
    """
    array = as_array(name, values)
    shape = list(array.shape)
    if array.ndim < least or (most is not None and array.ndim > most):
        raise SigpropError(f"{name} has shape {shape}; expected {expected}")
    if array.size == 0:
        raise SigpropError(f"{name} is empty, with shape {shape}; expected {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise SigpropError(
            f"{name} with shape {shape} holds {array[tuple(place)]} at {place}; "
            f"expected finite numbers, {expected}"
        )
    return array


def checked_spikes(name: str, values: ArrayInput, expected: str = "[T, ...]") -> Array:
    """Return spikes as `[T, N]`, checked to be whole numbers."""
    flat = flatten_time(checked(name, values, expected, 1))
    if not is_whole(flat):
        raise SigpropError(
            f"{name} with shape {list(np.shape(flat))} holds fractions (up to {flat.max():.3g}); "
            f"expected spikes {expected} of 0 and 1, or whole counts"
        )
    return flat


def checked_pairs(
    argument: str,
    pairs: Mapping[str, tuple[ArrayInput, ArrayInput]],
    parts: tuple[str, str],
    like_name: str,
    like: Array,
    expected: str,
) -> dict[str, tuple[Array, Array]]:
    """Return two arrays for each name, both with the shape of `like`.

    `parts` names the two arrays and `expected` their shape, for the error.

    Raises:
        SigpropError: if there is no pair, or an array is empty, holds NaN or has another shape.
    """
    words = f"{parts[0]} {expected} and {parts[1]} {expected}"
    by_name(argument, pairs, words)
    if not pairs:
        raise SigpropError(f"{argument} is empty; expected {words} for each name")
    found = {}
    for name, values in pairs.items():
        check_pair(f"{argument}[{name!r}]", values, words)
        arrays = []
        for part, value in zip(parts, values, strict=True):
            where = f"{part} of {argument}[{name!r}]"
            array = checked(where, value, expected, 1, 1)
            same_shape(where, array, like_name, like)
            arrays.append(array)
        found[name] = (arrays[0], arrays[1])
    return found


def check_pair(where: str, values: object, expected: str) -> None:
    """Raise a SigpropError unless something has two parts."""
    if not isinstance(values, Sized):
        raise SigpropError(f"{where} is {shown(values)}; expected {expected}")
    if len(values) != 2:
        raise SigpropError(f"{where} has length {len(values)}; expected {expected}")


def by_name(argument: str, values: object, expected: str) -> None:
    """Raise a SigpropError unless an argument is a mapping from names."""
    instance(argument, values, Mapping, f"{expected} by name")


def records(argument: str, values: object) -> None:
    """Raise a SigpropError unless an argument is a list of mappings."""
    for record in instance(argument, values, Sequence, "a list of records"):
        instance(f"a record of {argument}", record, Mapping, "values by name")


def same_shape(name: str, array: Array, like_name: str, like: Array) -> None:
    """Raise a SigpropError unless both arrays have the same shape."""
    if array.shape != like.shape:
        raise SigpropError(
            f"{name} has shape {list(array.shape)}; "
            f"expected {list(like.shape)}, the shape of {like_name}"
        )


def number(name: str, value: object, missing: float = math.nan) -> float:
    """Return a value of a record as a number, or `missing` for None.

    Raises:
        SigpropError: if the value is not a finite number.
    """
    if value is None:
        return missing
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise SigpropError(f"{name} is {value!r}; expected a number") from error
    if not math.isfinite(found):
        raise SigpropError(f"{name} is {found}; expected a finite number")
    return found


def flatten_time(array: Array) -> Array:
    """Return `[T, ...]` as `[T, N]`."""
    return array.reshape(array.shape[0], -1)


def is_whole(array: Array) -> bool:
    """Return whether all values are whole numbers, as spikes and counts are."""
    return array.dtype.kind in "bui" or bool((array == np.round(array)).all())


def thin_step(count: int, limit: int, name: str) -> int:
    """Return k so that every k-th of `count` things is at most `limit` things.

    A k above 1 shares no factor with `count`. Otherwise it could pick the same column of every
    feature map. `name` is the argument that gives the limit.
    """
    limit = whole(name, limit)
    if count <= limit:
        return 1
    step = -(-count // limit)
    while math.gcd(step, count) != 1:
        step += 1
    return step


def ordinal(count: int) -> str:
    """Return 2 as `2nd`, 13 as `13th`."""
    if count % 100 in (11, 12, 13):
        return f"{count:,}th"
    return f"{count:,}" + {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")


def thinned_count(count: int, step: int, things: str) -> str:
    """Return words for `count` things when every `step`-th of them is drawn."""
    if step == 1:
        return f"{count:,} {things if count != 1 else things.removesuffix('s')}"
    return f"every {ordinal(step)} of {count:,} {things}"


def with_remark(title: str | None, remark: str) -> str:
    """Return the title with the remark in brackets, or the remark if there is no title."""
    return remark if title is None else f"{title} ({remark})"
