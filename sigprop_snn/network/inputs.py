"""Checks of what enters a network."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.filters import is_constant


def check_inputs(inputs: Tensor, *, finite: bool = True) -> None:
    """Check samples `[T, B, ...]` at the start of a pass.

    Args:
        inputs: the samples.
        finite: whether the numbers are looked at as well.

    Raises:
        SigpropError: if an axis is missing or empty, or a value is not finite.
    """
    # Autocast keeps the weights it has cast until its context ends, and layers have learned since.
    torch.clear_autocast_cache()
    if inputs.dim() < 3 or min(inputs.shape) < 1:
        raise SigpropError(
            f"input has shape {list(inputs.shape)}; expected [T, B, ...], none of them empty"
        )
    if finite:
        check_finite(inputs)


def check_finite(inputs: Tensor) -> None:
    """Check the numbers of samples `[T, B, ...]`.

    Raises:
        SigpropError: if one is not finite.
    """
    # NaN never exceeds a threshold: unchecked, it would pass for silence.
    distinct = inputs[:1] if is_constant(inputs) else inputs
    # A finite sum has finite terms, and one pass tells; a sum may also leave the range by itself.
    if torch.isfinite(distinct.sum()):
        return
    bad = ~torch.isfinite(distinct)
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise SigpropError(
            f"input is {float(distinct[tuple(place)])} at {place}; expected finite numbers"
        )
