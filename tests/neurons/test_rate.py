"""Rate neurons: an ordinary layer without a leak, relaxation with one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.layer_pass import as_spikes
from sigprop_snn.neurons import Rate, run
from sigprop_snn.rules.surrogate import SurrogateRule
from sigprop_snn.rules.voltage import VoltageRule
from sigprop_snn.surrogates import LeakyRelu, Sigmoid


def test_without_a_leak_a_step_is_an_ordinary_layer():
    current = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run(Rate(), current).spike, torch.relu(current))
    leaky = run(Rate(surrogate=LeakyRelu(0.2)), current).spike
    torch.testing.assert_close(leaky, nn.functional.leaky_relu(current, 0.2))


def test_with_a_leak_it_relaxes_to_its_current():
    current = torch.full((60, 1, 2), 0.8, dtype=torch.float64)
    ran = run(Rate(beta=0.7, surrogate=Sigmoid(1.0)), current, record=("voltage",))
    expected = 0.8 * (1 - 0.7 ** torch.arange(1, 61, dtype=torch.float64))
    torch.testing.assert_close(ran.recorded["voltage"][:, 0, 0], expected)
    torch.testing.assert_close(ran.spike[:, 0, 1], torch.sigmoid(expected))


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=str)
def test_both_rules_give_the_gradient_of_an_ordinary_layer(rule):
    torch.manual_seed(0)
    block = Block(nn.Linear(6, 5).double(), Rate())
    x, pull = torch.randn(1, 7, 6).double(), torch.randn(7, 5).double()
    shown = rule.respond(block, as_spikes(x), observed_rows=7, learn=True).representation
    (shown * pull).sum().backward()
    weight = block.synapse.weight
    bias = block.synapse.bias
    oracle = (torch.relu(x[0] @ weight.t() + bias) * pull).sum()
    for got, param in ((weight.grad, weight), (bias.grad, bias)):
        torch.testing.assert_close(got, torch.autograd.grad(oracle, param, retain_graph=True)[0])


def test_a_beta_outside_its_range_is_refused():
    with pytest.raises(SigpropError, match=r"beta of Rate is 1\.5"):
        Rate(beta=1.5)
