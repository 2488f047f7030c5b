"""Centred blocks learn from covariance, with the gradient of the mean that is subtracted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.linear_current import LinearCurrent
from sigprop_snn.network import Block, RunningNorm, RunningScale, SurrogateRule, VoltageRule
from sigprop_snn.neurons import LIF, ParametricLIF
from sigprop_snn.neurons.engines import DenseSpikes

SYNAPSES = {
    "linear": (lambda: nn.Linear(6, 5), (6,)),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 5)), (2, 2, 2)),
    "conv with a border": (lambda: nn.Conv2d(3, 5, 3, padding=1), (3, 6, 4)),
    "conv without": (lambda: nn.Conv2d(3, 5, 3, bias=False), (3, 6, 5)),
    "strided in groups": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 7, 6)),
    "conv1d": (lambda: nn.Conv1d(2, 5, 3, padding=2, dilation=2), (2, 9)),
}


def case(name, rows=7, steps=1):
    torch.manual_seed(3)
    synapse, shape = SYNAPSES[name][0](), SYNAPSES[name][1]
    channels = 6 if name == "strided in groups" else 5
    norm = RunningNorm(channels, 1.3, -0.2)
    block = Block(synapse, LIF(0.8), norm=norm, centred=True).double()
    with torch.no_grad():
        norm.gain.add_(torch.rand_like(norm.gain))
        norm.variance.uniform_(0.5, 2.0)
        x = (torch.rand(steps, rows, *shape) < 0.4).double()
        raw = synapse(x.flatten(0, 1))
        norm.mean.copy_(raw.transpose(0, 1).flatten(1).mean(1))  # as the batch has it
    return block.eval(), x


def through_the_mean(block, x):
    """Return the current of a normaliser whose mean is the batch's, and carries its gradient."""
    raw = block.synapse(x)
    axes = [axis for axis in range(raw.dim()) if axis != 1]
    mean = raw.mean(axes, keepdim=True)
    unit = block.norm.unit().view(-1, *[1] * (raw.dim() - 2))
    gain, shift = (p.view(unit.shape) for p in (block.norm.gain, block.norm.shift))
    return gain * unit * (raw - mean) + shift


@pytest.mark.parametrize("synapse", SYNAPSES)
def test_the_gradient_is_that_of_a_normaliser_with_a_mean_of_its_own(synapse):
    block, x = case(synapse)
    twin, x = copy.deepcopy(block), x[0]
    expected = through_the_mean(twin, x)
    grad = torch.randn_like(expected)
    weights = [p for n, p in twin.named_parameters() if "bias" not in n]
    theirs = torch.autograd.grad(expected, weights, grad)
    current = LinearCurrent.of(block.synapse, block.norm)
    attached = current.attach(x, torch.zeros_like(expected), mean_input=x.mean(0))
    mine = torch.autograd.grad(
        attached, [p for n, p in block.named_parameters() if "bias" not in n], grad
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("path", ["closed", "through a hook", "unrolled"])
@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
@pytest.mark.parametrize("synapse", ["linear", "conv with a border"])
def test_both_rules_learn_from_centred_inputs(synapse, rule, path):
    """What both rules leave is the gradient of the plain rule less (sum of delta) m^T."""
    block, x = case(synapse, steps=5)
    if path == "through a hook":
        block.synapse.register_forward_hook(lambda *_: None)
    elif path == "unrolled":
        block.neuron = ParametricLIF(0.8).double()
    plain = copy.deepcopy(block)
    plain.centred = False
    target = None
    for each in (block, plain):
        shown = rule.respond(each, DenseSpikes(x), learn=True).representation
        target = torch.randn_like(shown) if target is None else target
        (shown * target).sum().backward()
    layer, bias = block.synapse, plain.synapse.bias.grad
    fresh = case(synapse)[0]
    current = LinearCurrent.of(fresh.synapse, fresh.norm)
    taken = plain.synapse.weight.grad - block.synapse.weight.grad
    torch.testing.assert_close(layer.bias.grad, bias)
    for name in ("gain", "shift"):
        mine, theirs = (getattr(each.norm, name).grad for each in (block, plain))
        torch.testing.assert_close(mine, theirs)
    direction = taken.flatten(1)
    for f, size in enumerate(bias):  # one rank: every row lies along one mean input
        torch.testing.assert_close(direction[f] * bias[0], direction[0] * size)
    if isinstance(rule, VoltageRule) and path != "unrolled":
        trace = x.new_tensor([0.8**k for k in range(5)]).cumsum(0).flip(0)
        mean = (trace.view(-1, *[1] * (x.dim() - 1)) * x).sum(0).mean(0) / trace.sum()
    else:
        mean = x.mean((0, 1))
    by_hand = current.mean_per_weight(mean)
    expected = bias.view(-1, *[1] * (taken.dim() - 1)) * by_hand
    torch.testing.assert_close(taken, expected.expand_as(taken), rtol=1e-9, atol=1e-10)


def test_rows_that_are_all_the_same_teach_a_centred_weight_nothing():
    block, x = case("linear")
    same = x[:, :1].expand(1, 7, 6)
    shown = VoltageRule("mean").respond(block, DenseSpikes(same), learn=True).representation
    (shown * torch.randn_like(shown)).sum().backward()
    torch.testing.assert_close(block.synapse.weight.grad, torch.zeros(5, 6).double())


@pytest.mark.parametrize("norm", [None, RunningScale(5)], ids=["none", "scale"])
def test_a_block_whose_norm_leaves_the_mean_is_not_centred(norm):
    with pytest.raises(SigpropError, match="RunningNorm"):
        Block(nn.Linear(6, 5), LIF(), norm=norm, centred=True)


@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
@pytest.mark.parametrize("synapse", ["linear", "flattened", "conv without"])
def test_a_running_mean_is_one_number_a_presynaptic_channel(synapse, rule):
    """Against autograd through the block's static current of x - m, with m known beforehand.

    At a border the zeros count in the mean, as in the batch's form, which the tests above hold.
    """
    block, x = case(synapse, steps=4)
    running = Block(block.synapse, block.neuron, norm=block.norm, centred="running").double().eval()
    channels = len(running.input_mean.mean)
    shape = x.shape[2:]
    assert channels == (shape.numel() if "Linear" in repr(block.synapse) else shape[0])
    running.input_mean.mean.uniform_(0.1, 0.6)
    m = running.input_mean.row(x[0, 0])
    representation = rule.respond(running, DenseSpikes(x), learn=True).representation
    target = torch.randn_like(representation)
    weight = next(p for p in block.synapse.parameters() if p.dim() > 1)
    (mine,) = torch.autograd.grad((representation * target).sum(), weight)
    voltage, current = torch.zeros_like(representation), []
    for step in x:  # the membrane with its resets held constant
        voltage = 0.8 * voltage + running.static_current(step - m)
        current.append(voltage)
    ran = running.run(DenseSpikes(x), record=("voltage",))
    if isinstance(rule, VoltageRule):
        expected = sum(current) / len(x)
    else:
        slope = running.neuron.surrogate.df(running.neuron.above(ran.recorded["voltage"]))
        expected = sum(slope[t] * u for t, u in enumerate(current)) / len(x)
    (theirs,) = torch.autograd.grad((expected * target).sum(), weight)
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_the_running_mean_follows_the_input_in_training_alone():
    block = Block(nn.Conv2d(2, 3, 3), LIF(0.8), norm=RunningNorm(3), centred="running")
    x = torch.tensor([0.25, 0.5]).view(2, 1, 1).expand(4, 5, 2, 6, 6)
    VoltageRule().respond(block, DenseSpikes(x), learn=True, observed_rows=5)
    torch.testing.assert_close(block.input_mean.mean, torch.tensor([0.25, 0.5]))
    block.eval()
    VoltageRule().respond(block, DenseSpikes(2 * x), learn=True)
    torch.testing.assert_close(block.input_mean.mean, torch.tensor([0.25, 0.5]))
    assert "input_mean.mean" in block.state_dict()


def test_a_running_mean_needs_one_plain_layer_and_a_known_word():
    norm = RunningNorm(3)
    with pytest.raises(SigpropError, match="running mean has the synapse Sequential"):
        Block(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), LIF(), norm=norm, centred="running")
    with pytest.raises(SigpropError, match=r"slow.*batch.*running"):
        Block(nn.Linear(2, 3), LIF(), norm=norm, centred="slow")
