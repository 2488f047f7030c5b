"""Pictures of spiking networks with one look.

Every function takes arrays or tensors, time first, and returns the Axes drawn on. It draws on the
Axes that it gets. Without one, in a notebook or after `import matplotlib.pyplot`, it draws where
`plt.gca()` is empty, or else on a new figure of pyplot, so the notebook or `plt.show()` shows it.
In other programs it makes a figure that needs no display.
"""

from sigprop_snn.plots import backend  # noqa: F401  # first, because it imports matplotlib
from sigprop_snn.plots.animation import animate_layers
from sigprop_snn.plots.curves import learning_curves
from sigprop_snn.plots.events import event_cloud, event_frames
from sigprop_snn.plots.evidence import separability, stream_alignment, update_angles
from sigprop_snn.plots.histograms import voltage_histogram
from sigprop_snn.plots.maps import rate_maps, weights_as_pictures
from sigprop_snn.plots.network import network_raster
from sigprop_snn.plots.rasters import raster
from sigprop_snn.plots.saving import save
from sigprop_snn.plots.spectrum import rule_spectrum
from sigprop_snn.plots.style import axes_row, layer_colours
from sigprop_snn.plots.surrogates import surrogate_comparison
from sigprop_snn.plots.tables import confusion, similarity
from sigprop_snn.plots.traces import neuron_comparison, voltage_traces

__all__ = [
    "animate_layers",
    "axes_row",
    "confusion",
    "event_cloud",
    "event_frames",
    "layer_colours",
    "learning_curves",
    "network_raster",
    "neuron_comparison",
    "raster",
    "rate_maps",
    "rule_spectrum",
    "save",
    "separability",
    "similarity",
    "stream_alignment",
    "surrogate_comparison",
    "update_angles",
    "voltage_histogram",
    "voltage_traces",
    "weights_as_pictures",
]
