"""The fast sigmoid's kernel against torch's own passes, in float64."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.neurons import LIF, filter_matrix, geometric_response, impulse_response
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.neurons.kernels import surrogate
from sigprop_snn.surrogates import Arctan, FastSigmoid


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 1, 1100)], ids=str)
def test_mean_and_filtered_derivative_are_those_of_the_formulas(steps, shape):
    neuron = LIF(0.8, 1.5, surrogate=FastSigmoid(3.0), scale_current=True)
    generator = torch.Generator().manual_seed(steps)
    voltage = 3 * torch.randn(steps, *shape, generator=generator)
    share = torch.randn(shape, generator=generator)
    above = (voltage.double() - 1.5).requires_grad_()
    primitive = 0.5 + 1.5 * above / (1 + 3 * above.abs())
    torch.testing.assert_close(
        surrogate.mean_primitive(neuron, voltage).double(), primitive.mean(0), atol=1e-6, rtol=1e-5
    )
    (slope,) = torch.autograd.grad(primitive.sum(), above)
    response = impulse_response(neuron, steps)
    into = filter_matrix(response).t() @ (slope * share.double()).flatten(1)
    geometric = geometric_response(response)
    assert geometric is not None
    found = surrogate.filtered_derivative(neuron, voltage, share, geometric)
    torch.testing.assert_close(found.double().flatten(1), into, atol=1e-5, rtol=1e-5)


def test_voltages_beyond_all_bounds_stay_finite():
    huge = torch.tensor([[3e38, -3e38]])
    neuron = LIF(surrogate=FastSigmoid(100.0))
    assert surrogate.mean_primitive(neuron, huge).tolist() == [1.0, 0.0]
    found = surrogate.filtered_derivative(neuron, huge, torch.ones(2), Geometric(1.0, 0.5))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("neuron", "dtype"),
    [
        (LIF(surrogate=Arctan()), torch.float32),
        (LIF(surrogate=FastSigmoid(torch.nn.Parameter(torch.tensor(2.0)))), torch.float32),
        (LIF(), torch.float64),
    ],
)
def test_what_it_does_not_know_it_leaves_alone(neuron, dtype):
    assert not surrogate.fits(neuron, torch.zeros(1, 1, dtype=dtype))
    assert surrogate.fits(LIF(), torch.zeros(1, 1))


def test_a_response_that_is_no_power_is_told():
    assert geometric_response(torch.tensor([1.0, 0.5, 0.25])) == (1.0, 0.5)
    assert geometric_response(torch.tensor([2.0])) == (2.0, 0.0)
    assert geometric_response(torch.tensor([1.0, 0.0, 0.0])) == (1.0, 0.0)
    assert geometric_response(torch.tensor([1.0, 0.5, 0.3])) is None
    assert geometric_response(torch.tensor([0.0, 0.5, 0.25])) is None
