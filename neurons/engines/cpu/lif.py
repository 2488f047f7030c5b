"""Stand-in."""

from typing import Any, NamedTuple

from sigprop_snn.neurons.engines.reference import entering
from sigprop_snn.neurons.kernels.cpu import lif_cpu


class LayerRun(NamedTuple):
    spikes: Any
    voltage: Any
    last_voltage: Any
    voltage_sum: Any


def run_lif(neuron, current, state, *, contexts, scale, record_voltage):
    if state is None:
        state = neuron.initial_state(entering(current[0], contexts, scale))
    return lif_cpu(neuron, current, contexts, state, ("voltage",) if record_voltage else (), scale)
