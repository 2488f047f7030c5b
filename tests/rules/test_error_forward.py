"""Error forward-propagation: its update worked out by hand, its loop, and that it learns."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningScale,
    conv,
    layout_of,
    mlp,
)
from sigprop_snn.neurons import LIF, NEURONS, Rate
from sigprop_snn.rules.error_forward import ErrorForward
from sigprop_snn.rules.hebbian import Hebbian
from sigprop_snn.surrogates import FastSigmoid, Sigmoid
from sigprop_snn.training import LocalOptimizers, evaluate

NUDGE = 0.3
SIZES = (3, 4, 5)
CLASSES = 2


def small(neuron, *, norm=False, **settings) -> Network:
    torch.manual_seed(0)
    blocks = [
        Block(nn.Linear(a, b), neuron(), norm=RunningScale(b, 1.5) if norm else None)
        for a, b in pairwise(SIZES)
    ]
    layout = layout_of(blocks, (3,), CLASSES)
    rule = ErrorForward(layout, nudge=NUDGE, **settings)
    signal = ProjectedContext(CLASSES, (SIZES[1],))
    return Network(signal, blocks, Readout(SIZES[2], CLASSES, 0.8), rule=rule).double()


def by_hand(network: Network, x, labels, f, lif=None):
    """The changes of one batch, neuron by neuron in plain loops.

    `f` is the activity of a voltage above the threshold. With `lif` = (beta, threshold) the
    neurons spike, and activity and spikes part ways.
    """
    steps, rows = len(x), len(x[0])
    loop = network.rule.loop.tolist()
    layers = []
    for block in network.blocks:
        scale = 1.0
        gain = [1.0] * block.synapse.out_features
        if isinstance(block.norm, RunningScale):
            scale = 1.0 / math.sqrt(float(block.norm.mean_square) + 1e-6)
            gain = block.norm.gain.tolist()
        layers.append((block.synapse.weight.tolist(), block.synapse.bias.tolist(), gain, scale))
    out_w = network.readout.synapse.weight.tolist()
    out_b = network.readout.synapse.bias.tolist()

    def through(sample, extra):
        """Mean input and mean activity of each block, and what the last sends at each step."""
        received, active = [], []
        sequence = [list(map(float, step[sample])) for step in x]
        for index, (w, b, gain, scale) in enumerate(layers):
            received.append([sum(s[i] for s in sequence) / steps for i in range(len(sequence[0]))])
            sent, acts = [[0.0] * len(w) for _ in range(steps)], []
            for j in range(len(w)):
                voltage, total = 0.0, 0.0
                for t in range(steps):
                    raw = sum(w[j][i] * sequence[t][i] for i in range(len(w[j]))) + b[j]
                    current = gain[j] * scale * raw + (extra[j] if index == 0 else 0.0)
                    if lif is None:
                        total += f(current)
                        sent[t][j] = f(current)
                    else:
                        beta, threshold = lif
                        voltage = beta * voltage + current
                        total += f(voltage - threshold)
                        sent[t][j] = 1.0 if voltage > threshold else 0.0
                        voltage -= threshold * sent[t][j]
                acts.append(total / steps)
            active.append(acts)
            sequence = sent
        return received, active, sequence

    weights = [[[0.0] * len(w[0]) for _ in w] for w, _, _, _ in layers]
    biases = [[0.0] * len(w) for w, _, _, _ in layers]
    gains = [[0.0] * len(w) for w, _, _, _ in layers]
    loop_change = [[0.0] * SIZES[1] for _ in range(CLASSES)]
    beta = network.readout.neuron.beta
    for sample in range(rows):
        received, first, last = through(sample, [0.0] * SIZES[1])
        scores = [0.0] * CLASSES
        for c in range(CLASSES):
            voltage = 0.0
            for t in range(steps):
                drive = sum(out_w[c][k] * last[t][k] for k in range(SIZES[2])) + out_b[c]
                voltage = beta * voltage + drive
                scores[c] += voltage / steps
        total = sum(math.exp(s) for s in scores)
        error = [float(labels[sample] == c) - math.exp(scores[c]) / total for c in range(CLASSES)]
        extra = [
            NUDGE * sum(error[c] * loop[c][j] for c in range(CLASSES)) for j in range(SIZES[1])
        ]
        _, second, _ = through(sample, extra)
        for c in range(CLASSES):
            for j in range(SIZES[1]):
                loop_change[c][j] += error[c] * first[0][j] / rows
        for index, (w, b, gain, scale) in enumerate(layers):
            for j in range(len(w)):
                moved = (second[index][j] - first[index][j]) / NUDGE / rows
                raw = b[j] + sum(w[j][i] * received[index][i] for i in range(len(w[j])))
                gains[index][j] += moved * scale * raw
                biases[index][j] += moved * gain[j] * scale
                for i in range(len(w[j])):
                    weights[index][j][i] += moved * gain[j] * scale * received[index][i]
    return weights, biases, gains, loop_change


def logistic(u):
    return 1 / (1 + math.exp(-4 * u))


def fast_sigmoid(u):
    return 0.5 + 2 * u / (1 + 4 * abs(u))


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("kind", ["rate", "lif"])
def test_the_update_is_the_one_worked_out_by_hand(kind, norm):
    if kind == "rate":
        network = small(lambda: Rate(surrogate=Sigmoid()), norm=norm)
        steps, f, lif = 2, logistic, None
    else:
        network = small(lambda: LIF(0.7, threshold=0.4, surrogate=FastSigmoid()), norm=norm)
        steps, f, lif = 6, fast_sigmoid, (0.7, 0.4)
    network.eval()  # the normaliser's statistics stay
    with torch.no_grad():
        network.rule.loop.copy_(torch.randn(CLASSES, SIZES[1]))
        for block in network.blocks:
            if norm:
                block.norm.mean_square.fill_(0.6)
                block.norm.gain.add_(0.1 * torch.randn_like(block.norm.gain))
    x = torch.randn(steps, 5, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0, 1])
    network.learn(x, labels)

    weights, biases, gains, loop = by_hand(network, x.tolist(), labels.tolist(), f, lif)
    if lif:  # a spike is a spike: the change must have moved some, or nothing is shown above
        assert any(abs(v) > 1e-6 for row in weights[1] for v in row)
    for block, weight, bias, gain in zip(network.blocks, weights, biases, gains, strict=True):
        torch.testing.assert_close(block.synapse.weight.grad, -torch.tensor(weight).double())
        torch.testing.assert_close(block.synapse.bias.grad, -torch.tensor(bias).double())
        if norm:
            torch.testing.assert_close(block.norm.gain.grad, -torch.tensor(gain).double())
    torch.testing.assert_close(network.rule.loop.grad, -torch.tensor(loop).double())


def test_the_readout_learns_by_its_own_error():
    network = small(lambda: Rate(surrogate=Sigmoid()))
    x, labels = torch.randn(1, 6, 3).double(), torch.arange(6) % 2
    learned = network.learn(x, labels)
    h = x[0]
    for block in network.blocks:
        h = torch.sigmoid(4 * block.synapse(h))
    loss = nn.functional.cross_entropy(network.readout.synapse(h.detach()), labels)
    (expected,) = torch.autograd.grad(loss, network.readout.synapse.weight)
    torch.testing.assert_close(network.readout.synapse.weight.grad, expected)
    assert learned.layers[-1].loss == pytest.approx(float(loss.detach()))
    assert [layer.name for layer in learned.layers] == ["block1", "block2", "readout"]


def test_where_the_loop_is_zero_the_error_reaches_no_block():
    """Also in training: the normaliser's statistics must not move between the passes."""
    network = small(lambda: Rate(surrogate=Sigmoid()), norm=True)
    assert network.rule.loop.abs().max() == 0
    network.learn(torch.randn(1, 6, 3).double(), torch.arange(6) % 2)
    for block in network.blocks:
        assert block.synapse.weight.grad.abs().max() == 0
    assert network.rule.loop.grad.abs().max() > 0


def test_a_fixed_loop_stays_as_it_was_drawn():
    network = small(lambda: Rate(surrogate=Sigmoid()), learned=False)
    network.learn(torch.randn(1, 6, 3).double(), torch.arange(6) % 2)
    assert network.rule.loop.grad is None
    assert network.rule.local_parameters() == {}
    assert network.blocks[1].synapse.weight.grad.abs().max() > 0


def test_layers_are_named_once_in_order_and_frozen_ones_left_out():
    network = small(lambda: Rate(surrogate=Sigmoid()))
    network.blocks[1].requires_grad_(False)
    named = []
    network.learn(torch.randn(1, 6, 3).double(), torch.arange(6) % 2, named.append)
    assert named == ["block1", "readout"]
    assert network.blocks[1].synapse.weight.grad is None


def test_no_error_travels_back_between_layers(monkeypatch):
    """Every graph that is walked backwards holds the weights of one layer alone."""
    network = small(lambda: Rate(surrogate=Sigmoid()))
    with torch.no_grad():
        network.rule.loop.normal_()
    reached = []
    backward = torch.Tensor.backward

    def watched(tensor, *args, **kwargs):
        before = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        backward(tensor, *args, **kwargs)
        reached.append(
            {
                name.split(".synapse")[0]
                for name, p in network.named_parameters()
                if p.grad is not None and not torch.equal(p.grad, before.get(name, p.grad * 0))
            }
        )

    monkeypatch.setattr(torch.Tensor, "backward", watched)
    network.learn(torch.randn(1, 6, 3).double(), torch.arange(6) % 2)
    assert reached == [{"blocks.0"}, {"blocks.1"}, {"readout"}]


def trained_on_digits(network, data, epochs):
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for _ in range(epochs):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
    return evaluate(network, data.test).accuracy


def test_it_learns_digits_along_the_gradient():
    torch.manual_seed(0)
    data = load("digits", steps=1, batch_size=32, train_samples=800)
    network = mlp(
        data.shape, 10, hidden=(128, 128), neuron=NEURONS["hard-rate"], gain=1.0, rule=ErrorForward
    )
    assert trained_on_digits(network, data, 4) > 0.9
    x, labels = next(iter(data.train))
    for parameter in network.parameters():
        parameter.grad = None
    network.eval()
    network.learn(x, labels)
    linears = [network.blocks[0].synapse[1], network.blocks[1].synapse]
    h = x[0].flatten(1)
    for block, linear in zip(network.blocks, linears, strict=True):
        scale = block.norm.gain / (block.norm.mean_square + 1e-6).sqrt()
        h = (scale * nn.functional.linear(h, linear.weight, linear.bias)).clamp(0, 1)
    loss = nn.functional.cross_entropy(network.readout.synapse(h), labels)
    for linear in linears:
        (gradient,) = torch.autograd.grad(loss, linear.weight, retain_graph=True)
        mine = linear.weight.grad
        assert nn.functional.cosine_similarity(mine.flatten(), gradient.flatten(), dim=0) > 0.4


def test_spiking_layers_learn_by_it_too():
    torch.manual_seed(0)
    data = load("digits", steps=8, batch_size=32)
    network = mlp(
        data.shape, 10, hidden=(128, 128), rule=lambda layout: ErrorForward(layout, nudge=2.0)
    )
    assert trained_on_digits(network, data, 2) > 0.8


def test_convolutions_take_the_rule():
    torch.manual_seed(0)
    network = conv((1, 8, 8), 4, channels=(4, 4), neuron=NEURONS["hard-rate"], rule=ErrorForward)
    with torch.no_grad():
        network.rule.loop.normal_()
    network.learn(torch.rand(1, 6, 1, 8, 8), torch.arange(6) % 4)
    for block in network.blocks:
        for parameter in block.parameters():
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().max() > 0


def test_the_loop_is_saved_with_the_network():
    network, other = small(Rate), small(Rate)
    with torch.no_grad():
        network.rule.loop.normal_()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.rule.loop, network.rule.loop)


@pytest.mark.parametrize("nudge", [0.0, -1.0, math.inf, math.nan])
def test_a_nudge_that_is_no_positive_number_is_refused(nudge):
    with pytest.raises(SigpropError, match="nudge is"):
        mlp((4,), 2, hidden=(3,), rule=lambda layout: ErrorForward(layout, nudge=nudge))


def test_a_network_without_an_output_is_refused():
    network = small(Rate)
    network.readout = None
    with pytest.raises(SigpropError, match="no readout"):
        network.learn(torch.randn(1, 2, 3).double(), torch.tensor([0, 1]))


@pytest.mark.parametrize("rule", [ErrorForward, Hebbian])
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"nudge": None}, "nudge is None"),
        ({"nudge": 0.0}, "nudge is 0.0"),
        ({"learned": "no"}, "learned is 'no'"),
        ({"layout": None}, "layout is None"),
    ],
)
def test_settings_out_of_range_are_refused_by_value(rule, settings, found):
    layout = layout_of([Block(nn.Linear(3, 4), Rate())], (3,), CLASSES)
    with pytest.raises(SigpropError, match=found):
        rule(**{"layout": layout} | settings)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("rule", "neuron"),
    [("error-forward", "lif"), ("hebbian", "leaky-rate"), ("error-forward-relaxing", "leaky-rate")],
)
@pytest.mark.parametrize("make", [mlp, conv])
def test_a_network_of_half_precision_learns(make, rule, neuron, dtype):
    torch.manual_seed(0)
    net = make((1, 8, 8), 3, rule=rule, neuron=neuron).to(dtype)
    net.learn(torch.rand(4, 6, 1, 8, 8), torch.arange(6) % 3)
    found = [
        p.grad for layer in net.local_parameters().values() for p in layer if p.grad is not None
    ]
    assert all(grad.dtype == dtype and grad.isfinite().all() for grad in found)
    assert net.readout.synapse.bias.grad.any()  # the loop's weights start at zero
