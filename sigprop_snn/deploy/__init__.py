"""Takes a trained network to other programs and to chips."""

from sigprop_snn.deploy.fold import fold
from sigprop_snn.deploy.folded import Folded, FoldedLayer

__all__ = ["Folded", "FoldedLayer", "fold"]
