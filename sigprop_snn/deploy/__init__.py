"""Takes a trained network to other programs and to chips, and brings one in."""

from sigprop_snn.deploy.conventions import CONVENTIONS, Convention
from sigprop_snn.deploy.exported import export_program, write_onnx, write_program
from sigprop_snn.deploy.fold import fold
from sigprop_snn.deploy.folded import Folded, FoldedLayer
from sigprop_snn.deploy.from_nir import from_nir
from sigprop_snn.deploy.to_nir import to_nir, write_nir

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Folded",
    "FoldedLayer",
    "export_program",
    "fold",
    "from_nir",
    "to_nir",
    "write_nir",
    "write_onnx",
    "write_program",
]
