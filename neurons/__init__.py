"""Neuron models, and running them through time."""

from sigprop_snn.neurons.base import Neuron, Reset, State, Step
from sigprop_snn.neurons.catalogue import NEURONS
from sigprop_snn.neurons.filters import MeanTrace, filter_matrix, impulse_response, mean_trace
from sigprop_snn.neurons.integrator import LeakyIntegrator
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.run import Run, run

__all__ = [
    "LIF",
    "NEURONS",
    "LeakyIntegrator",
    "MeanTrace",
    "Neuron",
    "Reset",
    "Run",
    "State",
    "Step",
    "filter_matrix",
    "impulse_response",
    "mean_trace",
    "run",
]
