"""The learning signals that the command line accepts by name."""

from __future__ import annotations

from collections.abc import Callable

from sigprop_snn.arguments import instance
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import ProjectedContext, Signal
from sigprop_snn.signals.conditioned_context import ConditionedContext
from sigprop_snn.signals.drawn_context import DrawnContext
from sigprop_snn.signals.label_overlay import LabelOverlay
from sigprop_snn.signals.vector_context import MultiLabelContext, VectorContext


def projected_context(layout: Layout) -> ProjectedContext:
    """Each class's context, projected to a current by weights that learn."""
    return ProjectedContext(layout.classes, layout.currents[0], gain=layout.gain)


def fixed_context(layout: Layout) -> ProjectedContext:
    """Each class's context, projected to a current by fixed random weights."""
    return ProjectedContext(layout.classes, layout.currents[0], learned=False, gain=layout.gain)


def conditioned_context(layout: Layout) -> ConditionedContext:
    """Separate contexts for each sample: the projection of a class and of the sample."""
    return ConditionedContext(
        layout.classes, layout.currents[0], layout.inputs[0], gain=layout.gain
    )


def drawn_context(layout: Layout) -> DrawnContext:
    """A picture of each class's number, passed through the first block's synapse."""
    return DrawnContext(layout.classes, layout.inputs[0])


def learned_picture(layout: Layout) -> DrawnContext:
    """Pictures of the class numbers that learn with the first block."""
    return DrawnContext(layout.classes, layout.inputs[0], learned=True)


def mean_picture(layout: Layout) -> DrawnContext:
    """Each class's mean training sample, passed through the first block's synapse."""
    return DrawnContext(layout.classes, layout.inputs[0], pictures="mean")


def label_overlay(layout: Layout) -> LabelOverlay:
    """A right or wrong label, written over the first inputs of the sample."""
    return LabelOverlay(layout.classes, layout.inputs[0])


def vector_context(layout: Layout) -> VectorContext:
    """Each sample's target vector, projected to a current; for regression, not in the catalogue."""
    instance("layout", layout, Layout, "a Layout")
    return VectorContext(layout.classes, layout.currents[0], gain=layout.gain)


def multi_label_context(layout: Layout) -> MultiLabelContext:
    """Each label's projected context; for several labels per sample, not in the catalogue."""
    instance("layout", layout, Layout, "a Layout")
    return MultiLabelContext(layout.classes, layout.currents[0], gain=layout.gain)


#: Each function makes a signal for class labels that fits a network's layout.
SIGNALS: dict[str, Callable[[Layout], Signal]] = {
    "context": projected_context,
    "fixed-context": fixed_context,
    "conditioned-context": conditioned_context,
    "drawn-context": drawn_context,
    "learned-picture": learned_picture,
    "mean-picture": mean_picture,
    "label-overlay": label_overlay,
}
