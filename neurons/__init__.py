"""Neuron models, and running them through time."""

from sigprop_snn.neurons.adaptive import ALIF, AdaptiveState
from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.catalogue import NEURONS, make_neuron
from sigprop_snn.neurons.current_based import CurrentLIF, CurrentState
from sigprop_snn.neurons.decay import decay
from sigprop_snn.neurons.engines import Run, Scale, engine_for, use_engine
from sigprop_snn.neurons.exponential import EIF, AdEx, AdExState
from sigprop_snn.neurons.filters import (
    MeanTrace,
    filter_matrix,
    geometric_response,
    impulse_response,
    mean_trace,
)
from sigprop_snn.neurons.integrate_and_fire import IF
from sigprop_snn.neurons.integrator import LeakyIntegrator
from sigprop_snn.neurons.izhikevich import Izhikevich, IzhikevichState
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.parametric_lif import ParametricLIF
from sigprop_snn.neurons.parts import EscapeNoise, GaussianNoise, Refractory, VoltageFloor
from sigprop_snn.neurons.quadratic import QIF
from sigprop_snn.neurons.rate import Rate
from sigprop_snn.neurons.recurrent import AllToAll, OneToOne, Recurrent, RecurrentState
from sigprop_snn.neurons.run import run
from sigprop_snn.neurons.snntorch_adapter import SnnTorch, SnnTorchStyle
from sigprop_snn.neurons.state import (
    NeuronState,
    State,
    Step,
    map_state,
    state_tensors,
    with_voltage,
)
from sigprop_snn.neurons.wrapper import Wrapper

__all__ = [
    "ALIF",
    "EIF",
    "IF",
    "LIF",
    "NEURONS",
    "QIF",
    "AdEx",
    "AdExState",
    "AdaptiveState",
    "AllToAll",
    "CurrentLIF",
    "CurrentState",
    "EscapeNoise",
    "GaussianNoise",
    "Izhikevich",
    "IzhikevichState",
    "LeakyIntegrator",
    "MeanTrace",
    "Neuron",
    "NeuronState",
    "OneToOne",
    "ParametricLIF",
    "Rate",
    "Recurrent",
    "RecurrentState",
    "Refractory",
    "Reset",
    "Run",
    "Scale",
    "SnnTorch",
    "SnnTorchStyle",
    "State",
    "Step",
    "VoltageFloor",
    "Wrapper",
    "decay",
    "engine_for",
    "filter_matrix",
    "geometric_response",
    "impulse_response",
    "make_neuron",
    "map_state",
    "mean_trace",
    "run",
    "state_tensors",
    "use_engine",
    "with_voltage",
]
