"""Measures of what every layer of a network learns."""

from sigprop_snn.analysis.alignment import LayerAlignment, stream_alignment
from sigprop_snn.analysis.angles import LayerAngle, angle, update_angles, updates
from sigprop_snn.analysis.oracle import Gradients, backpropagated
from sigprop_snn.analysis.separability import (
    LayerSeparability,
    linear_probe,
    separability,
    spike_counts,
)

__all__ = [
    "Gradients",
    "LayerAlignment",
    "LayerAngle",
    "LayerSeparability",
    "angle",
    "backpropagated",
    "linear_probe",
    "separability",
    "spike_counts",
    "stream_alignment",
    "update_angles",
    "updates",
]
