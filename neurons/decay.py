"""The decay of a variable over one step, from its time constant."""

from __future__ import annotations

import math

from sigprop_snn.neurons.checks import check_positive


def decay(tau: float, dt: float = 1.0) -> float:
    """Return exp(-dt / tau), the fraction that remains after one step: `LIF(decay(tau=20.0))`.

    Args:
        tau: the time constant.
        dt: the length of one step, in the unit of `tau`.

    Raises:
        SigpropError: if either is not a positive number.
    """
    return math.exp(-check_positive("decay", "dt", dt) / check_positive("decay", "tau", tau))
