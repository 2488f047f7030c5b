"""Measures of what every layer of a network learns."""

from sigprop_snn.analysis.alignment import LayerAlignment, stream_alignment
from sigprop_snn.analysis.angles import LayerAngle, angle, update_angles, updates
from sigprop_snn.analysis.depth import BlockProfile, depth_profile
from sigprop_snn.analysis.oracle import Gradients, backpropagated
from sigprop_snn.analysis.separability import (
    LayerSeparability,
    linear_probe,
    ridge_probe,
    separability,
    spike_counts,
)
from sigprop_snn.monitors.mean_input import mean_input_shares

__all__ = [
    "BlockProfile",
    "Gradients",
    "LayerAlignment",
    "LayerAngle",
    "LayerSeparability",
    "angle",
    "backpropagated",
    "depth_profile",
    "linear_probe",
    "mean_input_shares",
    "ridge_probe",
    "separability",
    "spike_counts",
    "stream_alignment",
    "update_angles",
    "updates",
]
