"""The closed form of a block's gradient against autograd through its current, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.layers.linear_current import LinearCurrent
from sigprop_snn.network import Block, RunningNorm, RunningScale
from sigprop_snn.neurons import LIF, use_engine
from sigprop_snn.neurons.engines import DenseSpikes
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine

SYNAPSES = {
    "linear": (lambda: nn.Linear(8, 5), (8,)),
    "unbiased": (lambda: nn.Linear(8, 5, bias=False), (8,)),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 5)), (2, 2, 2)),
    "conv1d": (lambda: nn.Conv1d(2, 5, 3, dilation=2), (2, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(1, 5, 2, bias=False), (1, 3, 3, 4)),
}
NORMS = {"none": None, "scale": RunningScale, "norm": RunningNorm}


def linear_current(block):
    return LinearCurrent.of(block.synapse, block.norm)


def block_of(synapse, norm="none"):
    torch.manual_seed(0)
    made = SYNAPSES[synapse][0]()
    kind = NORMS[norm]
    channels = 6 if synapse == "conv2d" else 5
    block = Block(made, LIF(), norm=None if kind is None else kind(channels, 1.3)).double()
    with torch.no_grad():
        for value in (*block.norm.parameters(), *block.norm.buffers()):
            if value.is_floating_point():
                value.add_(torch.rand_like(value))
    return block


@pytest.mark.parametrize("steps", [None, 1, 6])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("synapse", SYNAPSES)
def test_every_gradient_is_autograds(synapse, norm, constant, steps):
    block = block_of(synapse, norm)
    leading = (3,) if steps is None else (steps, 3)
    sample = SYNAPSES[synapse][1]
    inputs = torch.randn(*leading, *sample, dtype=torch.float64)
    if constant:
        inputs = inputs[:1].expand_as(inputs)
    current = block.static_current(inputs) if steps is None else block.current(inputs)
    grad = torch.randn_like(current)
    parameters = list(block.parameters())
    expected = torch.autograd.grad(current, parameters, grad)
    value = torch.zeros_like(current)
    given = inputs if steps is None else DenseSpikes(inputs)
    attached = linear_current(block).attach(given, value)
    assert torch.equal(attached, value)
    for one, other in zip(torch.autograd.grad(attached, parameters, grad), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("worth", [0, 1 << 40])
def test_spikes_in_float32_by_events_or_not(worth):
    torch.manual_seed(1)
    block = Block(nn.Linear(40, 70), LIF(), norm=RunningScale(70))
    spikes = (torch.rand(9, 5, 40) < 0.3).float()
    wide = torch.randn(9, 8, 70)
    parameters = list(block.parameters())
    expected = torch.autograd.grad(block.current(spikes), parameters, wide[:, :5])
    with use_engine(CpuEngine(worth=worth, pack_from=0)) as engine:
        attached = linear_current(block).attach(engine.spikes(spikes), torch.zeros(9, 5, 70))
        found = torch.autograd.grad(attached, parameters, wide[:, :5])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


def test_a_frozen_weight_gets_none():
    block = block_of("linear", "scale")
    block.synapse.weight.requires_grad_(False)
    inputs = torch.randn(3, 8, dtype=torch.float64)
    linear_current(block).attach(inputs, torch.zeros(3, 5, dtype=torch.float64)).sum().backward()
    assert block.synapse.weight.grad is None and block.norm.gain.grad is not None


@pytest.mark.parametrize(
    "synapse",
    [
        nn.Identity(),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 2, 3)),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Sequential(nn.Flatten(2), nn.Linear(2, 3)),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
    ],
)
def test_what_has_no_closed_form_is_left_to_autograd(synapse):
    assert linear_current(Block(synapse, LIF())) is None


def test_a_hook_or_another_normaliser_leaves_it_to_autograd():
    block = Block(nn.Linear(2, 3), LIF())
    assert linear_current(block) is not None
    block.synapse.register_forward_hook(lambda module, given, made: 2 * made)
    assert linear_current(block) is None
    assert linear_current(Block(nn.Linear(2, 3), LIF(), norm=nn.LayerNorm(3))) is None
    row = Block(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), LIF())
    assert linear_current(row) is not None
    row.synapse.register_forward_hook(lambda module, given, made: 2 * made)
    assert linear_current(row) is None
    twice = row.current(torch.ones(5, 4, 2))
    torch.testing.assert_close(twice, 2 * row.synapse[1](torch.ones(5, 4, 2)))
