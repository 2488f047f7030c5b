"""The learning signals that the command line knows by name."""

from __future__ import annotations

from collections.abc import Callable

from sigprop_snn.network.layout import Layout
from sigprop_snn.network.overlay import LabelOverlay
from sigprop_snn.network.signal import ProjectedContext, Signal


def projected_context(layout: Layout) -> ProjectedContext:
    """Each class's context, projected to a current by weights that learn."""
    return ProjectedContext(layout.classes, layout.currents[0], gain=layout.gain)


def fixed_context(layout: Layout) -> ProjectedContext:
    """Each class's context, projected to a current by weights that stay as they were drawn."""
    return ProjectedContext(layout.classes, layout.currents[0], learned=False, gain=layout.gain)


def label_overlay(layout: Layout) -> LabelOverlay:
    """The label drawn over the first inputs of the sample itself, right or wrong."""
    return LabelOverlay(layout.classes, layout.inputs[0])


#: Every entry makes a signal that fits a network's layout.
SIGNALS: dict[str, Callable[[Layout], Signal]] = {
    "context": projected_context,
    "fixed-context": fixed_context,
    "label-overlay": label_overlay,
}
