"""Fused kernels: a neuron's whole run in one pass over time."""

from sigprop_snn.neurons.kernels.choice import BACKENDS, Backend, fused_kernel
from sigprop_snn.neurons.kernels.convolution import (
    Convolution,
    fits_convolution,
    run_convolution,
)
from sigprop_snn.neurons.kernels.convolution_gradient import convolution_outer, outer_pays
from sigprop_snn.neurons.kernels.cosines import cosine_cross_entropy, fits_cosines
from sigprop_snn.neurons.kernels.fused import Fused, Scale
from sigprop_snn.neurons.kernels.layer import Synapse, fits_layer, run_layer
from sigprop_snn.neurons.kernels.packed import WINDOW, Packed, flattened, pack, unpacked
from sigprop_snn.neurons.kernels.product import event_linear, event_outer
from sigprop_snn.neurons.kernels.scaled_rows import scale_rows

__all__ = [
    "BACKENDS",
    "WINDOW",
    "Backend",
    "Convolution",
    "Fused",
    "Packed",
    "Scale",
    "Synapse",
    "convolution_outer",
    "cosine_cross_entropy",
    "event_linear",
    "event_outer",
    "fits_convolution",
    "fits_cosines",
    "fits_layer",
    "flattened",
    "fused_kernel",
    "outer_pays",
    "pack",
    "run_convolution",
    "run_layer",
    "scale_rows",
    "unpacked",
]
