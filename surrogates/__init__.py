"""Smooth functions that stand in for the spike: each with primitive, derivative and spike."""

from sigprop_snn.surrogates.base import Surrogate
from sigprop_snn.surrogates.catalogue import SURROGATES
from sigprop_snn.surrogates.sigmoids import Arctan, FastSigmoid, Sigmoid

__all__ = ["SURROGATES", "Arctan", "FastSigmoid", "Sigmoid", "Surrogate"]
