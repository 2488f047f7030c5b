"""Fused kernels: a neuron's whole run in one pass over time."""

from sigprop_snn.neurons.kernels.choice import BACKENDS, Backend, fused_kernel
from sigprop_snn.neurons.kernels.fused import Fused, Scale
from sigprop_snn.neurons.kernels.product import event_linear, event_outer

__all__ = ["BACKENDS", "Backend", "Fused", "Scale", "event_linear", "event_outer", "fused_kernel"]
