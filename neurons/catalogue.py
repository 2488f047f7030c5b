"""The neurons that the command line knows by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import snntorch

from sigprop_snn.arguments import function
from sigprop_snn.neurons.adaptive import ALIF
from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.current_based import CurrentLIF
from sigprop_snn.neurons.exponential import EIF, AdEx
from sigprop_snn.neurons.integrate_and_fire import IF
from sigprop_snn.neurons.integrator import LeakyIntegrator
from sigprop_snn.neurons.izhikevich import Izhikevich
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.parametric_lif import ParametricLIF
from sigprop_snn.neurons.parts import EscapeNoise, GaussianNoise, Refractory, VoltageFloor
from sigprop_snn.neurons.quadratic import QIF
from sigprop_snn.neurons.rate import Rate
from sigprop_snn.neurons.recurrent import (
    recurrent_alif,
    recurrent_current_lif,
    recurrent_current_lif_one_to_one,
    recurrent_lif,
    recurrent_lif_one_to_one,
)
from sigprop_snn.neurons.snntorch_adapter import SnnTorch
from sigprop_snn.surrogates import Rectangle, Surrogate


def parametric_lif_per_neuron(
    features: tuple[int, ...], *, surrogate: Surrogate | None = None
) -> ParametricLIF:
    """LIF with learnable decay and threshold, one pair for each neuron (PLIF)."""
    return ParametricLIF(features=features, surrogate=surrogate)


def block_adex(*, surrogate: Surrogate | None = None) -> AdEx:
    """Adaptive exponential integrate-and-fire (AdEx), 1 ms a step, a current of 1 is 2 nA."""
    return AdEx(dt=1.0, current_scale=2000.0, surrogate=surrogate)


def block_izhikevich(*, surrogate: Surrogate | None = None) -> Izhikevich:
    """Izhikevich's regular spiking cell (2003), 1 ms a step, a current of 1 is I = 20."""
    return Izhikevich(dt=1.0, current_scale=20.0, surrogate=surrogate)


def refractory_lif(*, surrogate: Surrogate | None = None) -> Refractory:
    """LIF with an absolute refractory period of two steps."""
    return Refractory(LIF(surrogate=surrogate), steps=2)


def floored_lif(*, surrogate: Surrogate | None = None) -> VoltageFloor:
    """LIF with a lowest voltage of -1."""
    return VoltageFloor(LIF(surrogate=surrogate), floor=-1.0)


def noisy_lif(*, surrogate: Surrogate | None = None) -> GaussianNoise:
    """LIF with Gaussian noise of 0.1 on its voltage at each step."""
    return GaussianNoise(LIF(surrogate=surrogate), sigma=0.1)


def escape_lif(*, surrogate: Surrogate | None = None) -> EscapeNoise:
    """LIF that fires at random near its threshold (escape noise of width 0.1)."""
    return EscapeNoise(LIF(surrogate=surrogate), width=0.1)


def hard_rate(*, surrogate: Surrogate | None = None) -> Rate:
    """Rate neuron with a hard sigmoid: its rate is its voltage, clipped to 0 and 1."""
    return Rate(threshold=0.5, surrogate=surrogate or Rectangle())


def leaky_rate(*, surrogate: Surrogate | None = None) -> Rate:
    """Rate neuron with a hard sigmoid and a leak of 0.6 a step: it relaxes to its current."""
    return Rate(beta=0.4, threshold=0.5, surrogate=surrogate or Rectangle())


def snntorch_leaky(*, surrogate: Surrogate | None = None) -> SnnTorch:
    """SnnTorch's Leaky through the adapter, with its reset one step after the spike."""
    return SnnTorch(snntorch.Leaky(beta=0.9), surrogate)


#: Each entry takes `surrogate=`. Models that need the size of their layer also take `features=`,
#: the shape of the layer without the batch; `make_neuron` passes it where it is asked for.
NEURONS: dict[str, Callable[..., Neuron]] = {
    "if": IF,
    "lif": LIF,
    "plif": ParametricLIF,
    "plif-per-neuron": parametric_lif_per_neuron,
    "cuba": CurrentLIF,
    "alif": ALIF,
    "recurrent-lif": recurrent_lif,
    "recurrent-lif-one-to-one": recurrent_lif_one_to_one,
    "recurrent-cuba": recurrent_current_lif,
    "recurrent-cuba-one-to-one": recurrent_current_lif_one_to_one,
    "recurrent-alif": recurrent_alif,
    "qif": QIF,
    "eif": EIF,
    "adex": block_adex,
    "izhikevich": block_izhikevich,
    "lif-refractory": refractory_lif,
    "lif-floor": floored_lif,
    "lif-noise": noisy_lif,
    "lif-escape": escape_lif,
    "leaky-integrator": LeakyIntegrator,
    "rate": Rate,
    "hard-rate": hard_rate,
    "leaky-rate": leaky_rate,
    "snntorch-leaky": snntorch_leaky,
}


def make_neuron(model: Callable[..., Neuron], features: tuple[int, ...]) -> Neuron:
    """Return a neuron for one layer, and pass the layer's shape if the model asks for it.

    Args:
        model: a neuron class, or a function that makes a neuron, such as an entry of `NEURONS`, a
            `functools.partial`, or a lambda without arguments. It gets the shape if it has a
            parameter `features` without a default.
        features: shape of the layer, without the batch: `(N,)` or `(C, H, W)`.

    Raises:
        SigpropError: if `model` can't be called.
    """
    function("model", model, "a neuron class, or a function that makes a neuron")
    asked = inspect.signature(model).parameters.get("features")
    if asked is not None and asked.default is inspect.Parameter.empty:
        return model(features=features)
    return model()
