"""The neurons that the command line knows by name."""

from __future__ import annotations

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.lif import LIF

NEURONS: dict[str, type[Neuron]] = {
    "lif": LIF,
}
