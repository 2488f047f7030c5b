"""Surrogates: smooth functions of the voltage that replace the step function of the spike."""

from sigprop_snn.surrogates.base import Surrogate
from sigprop_snn.surrogates.catalogue import SURROGATES
from sigprop_snn.surrogates.gaussians import Erf, Gaussian, MultiGaussian
from sigprop_snn.surrogates.piecewise import Rectangle, StraightThrough, Triangle
from sigprop_snn.surrogates.rectifiers import LeakyRelu, Relu
from sigprop_snn.surrogates.sigmoids import Arctan, Exponential, FastSigmoid, Sigmoid, Tanh

__all__ = [
    "SURROGATES",
    "Arctan",
    "Erf",
    "Exponential",
    "FastSigmoid",
    "Gaussian",
    "LeakyRelu",
    "MultiGaussian",
    "Rectangle",
    "Relu",
    "Sigmoid",
    "StraightThrough",
    "Surrogate",
    "Tanh",
    "Triangle",
]
