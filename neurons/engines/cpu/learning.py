"""Stand-in."""

from sigprop_snn.neurons.engines.engine import CosineCrossEntropy
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.neurons.kernels import cosines as _c
from sigprop_snn.neurons.kernels import scaled_rows as _r
from sigprop_snn.neurons.kernels import surrogate as _s


def why_not_scale_rows(rows, factor, other):
    return None


def scale_rows(rows, factor, other):
    return _r.scale_rows(rows, factor, other)


def why_not_surrogate(neuron, voltage):
    return None if _s.fits(neuron, voltage) else "x"


surrogate_mean = _s.mean_primitive


def surrogate_current_gradient(neuron, voltage, grad_mean, first, ratio):
    return _s.filtered_derivative(neuron, voltage, grad_mean, Geometric(first, ratio))


def why_not_cosines(rows, others, columns):
    return None if _c.fits_cosines(rows, others, columns) else "x"


def cosine_cross_entropy(*a):
    return CosineCrossEntropy(*_c.cosine_cross_entropy(*a))
