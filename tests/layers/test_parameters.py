"""Gradients without a graph arrive as in a backward pass; the first parameter is torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.layers.parameters import add_gradient, first_parameter

GRADIENT = torch.arange(12.0).view(4, 3)


def weights(**kind):
    return nn.Parameter(torch.ones(4, 3, **kind))


def test_it_is_added_to_the_gradient_before():
    parameter = weights()
    assert add_gradient(parameter, GRADIENT.clone())
    assert torch.equal(parameter.grad, GRADIENT)
    add_gradient(parameter, GRADIENT)
    assert torch.equal(parameter.grad, 2 * GRADIENT)


def test_what_does_not_learn_gets_none():
    frozen = weights().requires_grad_(False)
    assert not add_gradient(frozen, GRADIENT) and frozen.grad is None
    assert not add_gradient(None, GRADIENT)
    assert not add_gradient(weights(), None)


def test_it_gets_the_dtype_and_the_order_in_memory_of_the_parameter():
    parameter = nn.Parameter(torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last))
    gradient = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    add_gradient(parameter, gradient)
    assert parameter.grad.dtype == torch.float32
    assert parameter.grad.stride() == parameter.stride()
    torch.testing.assert_close(parameter.grad.double(), gradient)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_hooks_see_and_change_it(mode):
    parameter, seen = weights(), []
    parameter.register_hook(lambda grad: 3 * grad)
    parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    with mode():
        add_gradient(parameter, GRADIENT)
    assert torch.equal(parameter.grad, 3 * GRADIENT)
    assert torch.equal(seen[0], 3 * GRADIENT)


def test_it_travels_on_to_what_a_weight_was_computed_from():
    source = weights()
    assert add_gradient(2 * source, GRADIENT)
    assert torch.equal(source.grad, 2 * GRADIENT)


def test_the_first_parameter_is_that_of_torch():
    nested = nn.Sequential(nn.Flatten(), nn.ModuleDict(), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    nested.register_module("none", None)
    assert first_parameter(nested) is next(nested.parameters())
    bias = nn.Linear(3, 2)
    bias.weight = None
    assert first_parameter(bias) is bias.bias
    assert first_parameter(nn.Flatten()) is None
