"""The decay of a variable over one step, from its time constant."""

from __future__ import annotations

import math

from sigprop_snn.neurons.base import positive


def decay(tau: float, dt: float = 1.0) -> float:
    """Return exp(-dt / tau), what is left after one step: `LIF(beta=decay(tau=20.0))`.

    Args:
        tau: the time constant.
        dt: the length of one step, in the unit of `tau`.

    Raises:
        SigpropError: if either is not a positive number.
    """
    positive(tau=tau, dt=dt)
    return math.exp(-dt / tau)
