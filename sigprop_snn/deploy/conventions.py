"""How a program reads the numbers of a NIR file: time step, resistance, decay, pools, readout.

NIR's neurons are equations in continuous time. A simulator turns them into steps, and each does it
in its own way; a `Convention` says how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.arguments import instance, one_of, positive, truth

Resistance = Literal["gain", "one", "ignored"]
Decay = Literal["euler", "exponential"]
Pooling = Literal["average", "sum"]
LastLayer = Literal["integrator", "current"]
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Convention:
    """How a simulator reads a NIR graph.

    A neuron tau dv/dt = -v + R I becomes v[t] = beta v[t-1] + gain I[t].

    Args:
        dt: the time step, in the unit of tau.
        decay: "euler": beta = 1 - dt / tau; "exponential": beta = exp(-dt / tau).
        resistance: "gain": gain = R dt / tau, and R is written so that the gain is 1. "one": the
            same, but the simulator takes R = 1 for every LIF, so the weights are divided by
            dt / tau. "ignored": the simulator takes a gain of 1 whatever R is; R is written as 1.
        pool: the pool that the simulator knows. With "sum" the weights above an average pool are
            divided by the size of its window.
        readout: "integrator" ends the graph with the readout's leaky integrator (LI); "current"
            ends it before, for simulators without LI.
        one_number: whether a layer of maps has one number for each parameter of its neurons, in
            place of one for each neuron.

    Raises:
        SigpropError: if a value is not one of these.
    """

    dt: float = 1e-4
    decay: Decay = "euler"
    resistance: Resistance = "gain"
    pool: Pooling = "average"
    readout: LastLayer = "integrator"
    one_number: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", positive("dt of Convention", self.dt))
        one_of("decay", self.decay, get_args(Decay))
        one_of("resistance", self.resistance, get_args(Resistance))
        one_of("pool", self.pool, get_args(Pooling))
        one_of("readout", self.readout, get_args(LastLayer))
        truth("one_number of Convention", self.one_number)

    def time_constant(self, beta: Array) -> Array:
        """Return tau for the fraction of the voltage that remains after one step, in (0, 1)."""
        if self.decay == "exponential":
            return -self.dt / np.log(beta)
        found: Array = self.dt / (1.0 - beta)
        return found

    def remaining(self, tau: Array) -> Array:
        """Return the fraction of the voltage that remains after one step."""
        if self.decay == "exponential":
            found: Array = np.exp(-self.dt / tau)
            return found
        return 1.0 - self.dt / tau

    def gain(self, r: Array, tau: Array) -> Array:
        """Return the factor of the current in one step."""
        if self.resistance == "ignored":
            return np.ones_like(tau)
        found: Array = r * (1.0 - self.remaining(tau))
        return found

    def integrator_gain(self, r: Array) -> Array:
        """Return the factor of the current of a neuron without leak: R dt."""
        found: Array = np.ones_like(r) if self.resistance == "ignored" else r * self.dt
        return found


#: The conventions of simulators, measured with the versions that docs/nir.md names.
CONVENTIONS: dict[str, Convention] = {
    "nir": Convention(),
    "snntorch": Convention(readout="current"),
    "spikingjelly": Convention(readout="current"),
    "norse": Convention(dt=1e-3, resistance="one", pool="sum", readout="current"),
    "sinabs": Convention(
        dt=1.0, decay="exponential", resistance="ignored", pool="sum", readout="current",
        one_number=True,
    ),
}  # fmt: skip


def convention_of(given: Convention | str) -> Convention:
    """Return a convention, given it or a name in `CONVENTIONS`.

    Raises:
        UnknownNameError: if there is none of this name.
        SigpropError: if it is neither.
    """
    if isinstance(given, str):
        return CONVENTIONS[one_of("convention", given, CONVENTIONS)]
    names = ", ".join(CONVENTIONS)
    return instance("convention", given, Convention, f"a Convention, or one of {names}")


def near(values: Array, expected: float) -> bool:
    """Return whether all numbers equal one, but for rounding in float32; 0 equals 0 alone."""
    return bool(np.all(np.abs(values - expected) <= 1e-6 * math.fabs(expected)))
