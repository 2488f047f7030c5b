"""The surrogates that the command line knows by name."""

from __future__ import annotations

from sigprop_snn.surrogates.base import Surrogate
from sigprop_snn.surrogates.gaussians import Erf, Gaussian, MultiGaussian
from sigprop_snn.surrogates.piecewise import Rectangle, StraightThrough, Triangle
from sigprop_snn.surrogates.rectifiers import LeakyRelu, Relu
from sigprop_snn.surrogates.sigmoids import Arctan, Exponential, FastSigmoid, Sigmoid, Tanh

SURROGATES: dict[str, type[Surrogate]] = {
    "fast-sigmoid": FastSigmoid,
    "arctan": Arctan,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "triangle": Triangle,
    "rectangle": Rectangle,
    "gaussian": Gaussian,
    "multi-gaussian": MultiGaussian,
    "erf": Erf,
    "exponential": Exponential,
    "straight-through": StraightThrough,
    "relu": Relu,
    "leaky-relu": LeakyRelu,
}
