"""The kernels of the surrogate rule against their definitions in float64."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.neurons import (
    LIF,
    ParametricLIF,
    filter_matrix,
    geometric_response,
    impulse_response,
)
from sigprop_snn.neurons.engines.cpu.surrogate import surrogate_gradient, surrogate_mean
from sigprop_snn.neurons.engines.plain import why_not_surrogate
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.surrogates import Arctan, FastSigmoid


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 1, 1100), (2, 3, 5, 4)], ids=str)
def test_the_surrogates_mean_and_its_gradient_equal_autograd(steps, shape):
    neuron = LIF(0.8, 1.5, surrogate=FastSigmoid(3.0), scale_current=True)
    generator = torch.Generator().manual_seed(steps)
    voltage = 3 * torch.randn(steps, *shape, generator=generator)
    grad_mean = torch.randn(shape, generator=generator)
    above = (voltage.double() - 1.5).requires_grad_()
    mean = (0.5 + 1.5 * above / (1 + 3 * above.abs())).mean(0)
    (grad_above,) = torch.autograd.grad(mean, above, grad_mean.double())
    weights = impulse_response(neuron, steps)
    grad_current = (filter_matrix(weights).t() @ grad_above.flatten(1)).view_as(voltage)
    response = geometric_response(weights)
    layouts = [voltage]
    if voltage.dim() == 5:
        layouts.append(voltage.movedim(2, -1).contiguous().movedim(-1, 2))
    for stored in layouts:
        found = surrogate_mean(neuron, stored)
        torch.testing.assert_close(found.double(), mean.detach(), atol=1e-6, rtol=1e-5)
        found = surrogate_gradient(neuron, stored, grad_mean, response)
        torch.testing.assert_close(found.double(), grad_current, atol=1e-5, rtol=1e-5)


def test_huge_voltages_stay_finite():
    huge = torch.tensor([[3e38, -3e38]])
    neuron = LIF(surrogate=FastSigmoid(100.0))
    assert surrogate_mean(neuron, huge).tolist() == [1.0, 0.0]
    assert torch.isfinite(
        surrogate_gradient(neuron, huge, torch.ones(2), Geometric(1.0, 0.5))
    ).all()


def test_the_reason_against_a_surrogate_names_it():
    voltage = torch.zeros(1, 1)
    learned = torch.nn.Parameter(torch.tensor(2.0))
    assert why_not_surrogate(LIF(), voltage, "cpu") is None
    assert "threshold" in why_not_surrogate(ParametricLIF(), voltage, "cpu")
    assert "Arctan" in why_not_surrogate(LIF(surrogate=Arctan()), voltage, "cpu")
    assert "slope" in why_not_surrogate(LIF(surrogate=FastSigmoid(learned)), voltage, "cpu")
    assert "torch.float64" in why_not_surrogate(LIF(), voltage.double(), "cpu")
