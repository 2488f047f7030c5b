"""The surrogates that the command line knows by name."""

from __future__ import annotations

from sigprop_snn.surrogates.base import Surrogate
from sigprop_snn.surrogates.sigmoids import Arctan, FastSigmoid, Sigmoid

SURROGATES: dict[str, type[Surrogate]] = {
    "fast-sigmoid": FastSigmoid,
    "arctan": Arctan,
    "sigmoid": Sigmoid,
}
