"""Angles between updates, and the exact gradient to which they are measured."""

import copy
import math

import pytest
import torch
from torch import nn

from sigprop_snn.analysis import angle, backpropagated, update_angles, updates
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    Rule,
    RunningNorm,
    SurrogateRule,
    VectorContext,
    VoltageRule,
    conv,
    mlp,
)
from sigprop_snn.neurons import LIF, Rate
from sigprop_snn.rules.backpropagation import Backpropagation


class Adjoint:
    """Backpropagation through time by hand, for the network of the fixture.

    A layer: U[t] = beta U[t-1] + c (W x[t] + b) - beta theta S[t-1], S = H(U - theta), where c is
    the normaliser's scale, gain / rms. With g[t] = dL/dS[t] and the reset held constant,
    dL/dU[t] = g[t] f'(U[t] - theta) + beta dL/dU[t+1].
    """

    def __init__(self, network, inputs, labels):
        x, tapes = inputs, []
        for block in network.each_block():
            weight, bias = block.synapse.weight.detach(), block.synapse.bias.detach()
            rms = (block.norm.mean_square + 1e-6).sqrt()
            scale = block.norm.gain.detach() / rms
            theta, beta = block.neuron.threshold, block.neuron.beta
            plain = x @ weight.t() + bias
            voltage, spike = torch.zeros_like(plain), torch.zeros_like(plain)
            for t in range(len(x)):
                before = beta * (voltage[t - 1] - theta * spike[t - 1]) if t else 0.0
                voltage[t] = before + scale * plain[t]
                spike[t] = (voltage[t] > theta).to(x)
            tapes.append((x, weight, plain, voltage - theta, scale, rms, beta))
            x = spike
        self.found = {}
        g = self._readout(network.readout, x, labels)
        for place, (x, weight, plain, above, scale, rms, beta) in reversed(
            list(enumerate(tapes, 1))
        ):
            du = torch.zeros_like(above)
            for t in reversed(range(len(x))):
                df = 2.0 / (1.0 + 4.0 * above[t].abs()) ** 2
                du[t] = g[t] * df + (beta * du[t + 1] if t + 1 < len(x) else 0.0)
            self.found[f"block{place}"] = {
                "synapse.weight": torch.einsum("tbi,tbj->ij", du * scale, x),
                "synapse.bias": (du * scale).sum((0, 1)),
                "norm.gain": (du * plain / rms).sum((0, 1)),
            }
            g = (du * scale) @ weight

    def _readout(self, readout, x, labels):
        steps, rows, _ = x.shape
        weight, bias = readout.synapse.weight.detach(), readout.synapse.bias.detach()
        beta = readout.neuron.beta
        # A current at step t counts 1 + beta + ... for the steps that are left, over T.
        left = [sum(beta**k for k in range(steps - t)) / steps for t in range(steps)]
        left = torch.tensor(left, dtype=x.dtype)[:, None, None]
        scores = (left * (x @ weight.t() + bias)).sum(0)
        wrong = scores.exp() / scores.exp().sum(1, keepdim=True)
        wrong[torch.arange(rows), labels] -= 1.0
        wrong /= rows
        self.found["readout"] = {
            "synapse.weight": wrong.t() @ (left * x).sum(0),
            "synapse.bias": left.sum() * wrong.sum(0),
        }
        return left * (wrong @ weight)


def test_the_oracle_equals_backpropagation_by_hand(network, batch):
    net = network()
    net.blocks[0].norm.mean_square.fill_(2.3)
    found, expected = backpropagated(net, *batch), Adjoint(net, *batch).found
    assert set(found) == {"block1", "block2", "readout"}
    for layer, named in found.items():
        assert set(named) == set(expected[layer])
        for name, grad in named.items():
            assert grad.abs().max() > 0
            torch.testing.assert_close(grad, expected[layer][name], rtol=1e-9, atol=1e-12)


def test_the_oracle_of_graded_neurons_equals_finite_differences(batch):
    torch.manual_seed(0)
    net = Network(
        ProjectedContext(3, (4,)),
        [Block(nn.Linear(5, 4), Rate()), Block(nn.Linear(4, 4), Rate(beta=0.5))],
        Readout(4, 3),
    ).double()
    inputs, labels = batch
    found = backpropagated(net, inputs, labels)
    for layer, module in (("block1", net.blocks[0]), ("block2", net.blocks[1])):
        weight = module.synapse.weight
        slope = torch.zeros_like(weight)
        for place in range(weight.numel()):
            ends = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    weight.view(-1)[place] += step
                    ends.append(nn.functional.cross_entropy(net(inputs), labels))
                    weight.view(-1)[place] -= step
            slope.view(-1)[place] = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close(found[layer]["synapse.weight"], slope, rtol=1e-5, atol=1e-9)


def test_angles_of_known_vectors():
    a = torch.tensor([[3.0, 0.0], [0.0, 4.0]]).double()
    assert angle(a, a) == 0.0
    assert angle(a, 7 * a) == pytest.approx(0.0, abs=1e-12)
    assert angle(a, -0.1 * a) == pytest.approx(180.0, abs=1e-12)
    assert angle(a, torch.tensor([[0.0, 1.0], [2.0, 0.0]])) == pytest.approx(90.0, abs=1e-12)
    assert angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])) == pytest.approx(45.0)
    assert angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-9])) == pytest.approx(
        math.degrees(1e-9)
    )
    assert math.isnan(angle(a, torch.zeros_like(a)))


class Given(Rule):
    """Leaves what `backpropagated` found, changed by a function of it."""

    def __init__(self, change):
        self.change = change

    def learn(self, network, inputs, labels, update):
        found = backpropagated(network, inputs, labels)
        blocks = {f"block{place + 1}": block for place, block in enumerate(network.blocks)}
        for layer, module in {**blocks, "readout": network.readout}.items():
            for name, weights in module.named_parameters():
                weights.grad = self.change(found[layer][name])


def orthogonal(grad):
    """Half of the numbers keep their place, so that the product of the rest cancels."""
    drawn = torch.randn(grad.shape, dtype=grad.dtype, generator=torch.Generator().manual_seed(1))
    return drawn - (drawn * grad).sum() / grad.square().sum() * grad


@pytest.mark.parametrize(
    ("change", "degrees", "size"),
    [
        (lambda grad: grad, 0.0, 1.0),
        (lambda grad: 3 * grad, 0.0, 3.0),
        (lambda grad: -grad, 180.0, 1.0),
        (orthogonal, 90.0, None),
    ],
)
def test_the_angle_is_0_for_the_exact_gradient_180_for_its_negative_90_for_an_orthogonal_one(
    network, batch, change, degrees, size
):
    for found in update_angles(network(rule=Given(change)), *batch):
        assert found.degrees == pytest.approx(degrees, abs=1e-6)
        if size is not None:
            assert found.size == pytest.approx(size)


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()])
def test_sigprop_has_an_angle_in_every_layer_and_the_network_is_unchanged(network, batch, rule):
    net = network(rule=rule).train()
    before = copy.deepcopy(net.state_dict())
    block1, block2, readout = update_angles(net, *batch)
    assert [block1.name, block2.name, readout.name] == ["block1", "block2", "readout"]
    assert block1.parameters == 5 * 7 + 7 + 7  # the contexts' projection is left out
    assert 0 < block1.degrees < 180
    assert 0 < block2.degrees < 180
    assert readout.degrees == pytest.approx(0.0, abs=1e-6)  # its loss is backpropagation's
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, values in net.state_dict().items():
        assert torch.equal(values, before[name]), name


def test_the_angle_of_the_backpropagation_rule_is_0(network, batch):
    for found in update_angles(network(rule=Backpropagation()), *batch):
        assert found.degrees == pytest.approx(0.0, abs=1e-5)
        assert found.size == pytest.approx(1.0)


def test_a_convolutional_network_has_an_angle_in_every_layer():
    torch.manual_seed(0)
    net = conv((1, 8, 8), 3, channels=(3, 4), kernel=3).double()
    assert isinstance(net.blocks[0].norm, RunningNorm)
    for block in net.blocks:
        nn.init.constant_(block.norm.shift, 0.5)  # silent otherwise, without a trained norm
    inputs, labels = torch.rand(4, 6, 1, 8, 8).double() * 3, torch.arange(6) % 3
    for found in update_angles(net, inputs, labels):
        assert 0 <= found.degrees <= 180


def test_updates_equal_the_gradients_after_learning(network, batch):
    net = network(rule=VoltageRule()).eval()
    found = updates(net, *batch)
    net.learn(*batch)
    assert torch.equal(found["block2"]["synapse.weight"], net.blocks[1].synapse.weight.grad)


def test_labels_may_be_whole_numbers_of_any_type(network, batch):
    net, (inputs, labels) = network(), batch
    expected = backpropagated(net, inputs, labels)
    found = backpropagated(net, inputs, labels.to(torch.int32))
    assert all(torch.equal(a, found[n][k]) for n, of in expected.items() for k, a in of.items())


def test_the_angle_to_a_gradient_of_0_is_nan(network, batch):
    net = network()
    with torch.no_grad():
        net.readout.synapse.weight.zero_()
    block1, block2, _ = update_angles(net, *batch)
    assert math.isnan(block1.degrees) and math.isnan(block2.degrees)


def test_a_network_without_a_readout_is_refused(network, batch):
    with pytest.raises(SigpropError, match="readout"):
        backpropagated(network(readout=False), *batch)


def test_frozen_blocks_are_left_out(batch):
    blocks = [Block(nn.Linear(5, 7), LIF(0.8), frozen=True), Block(nn.Linear(7, 6), LIF(0.8))]
    net = Network(ProjectedContext(3, (7,)), blocks, Readout(6, 3)).double()
    assert [found.name for found in update_angles(net, *batch)] == ["block2", "readout"]


def test_the_oracle_of_a_regression_has_its_loss():
    torch.manual_seed(0)
    net = mlp(
        (6,), 2, hidden=(5,), rule="backpropagation",
        signal=lambda layout: VectorContext(2, layout.currents[0]),
    ).double()  # fmt: skip
    x, targets = torch.rand(4, 7, 6).double(), torch.randn(7, 2).double()
    assert all(layer.degrees < 1e-4 for layer in update_angles(net, x, targets))
