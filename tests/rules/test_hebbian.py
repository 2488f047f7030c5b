"""Hebbian learning in continuous time: where a network rests, what its synapses take from it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import fsolve
from torch import nn

from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import (
    Block,
    Layout,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    layout_of,
    mlp,
)
from sigprop_snn.neurons import LIF, NEURONS, Rate
from sigprop_snn.rules.hebbian import Hebbian
from sigprop_snn.rules.relaxation import Target, correlate, held, relax
from sigprop_snn.surrogates import Sigmoid
from sigprop_snn.training import LocalOptimizers, evaluate

SIZES = (3, 4, 5)
CLASSES = 2
BETA = 0.6


def small(*, steep=4.0, norm=False, **settings) -> Network:
    torch.manual_seed(0)
    blocks = [
        Block(
            nn.Linear(a, b),
            Rate(beta=BETA, threshold=0.2, surrogate=Sigmoid(steep)),
            norm=RunningScale(b, 1.5) if norm else None,
        )
        for a, b in pairwise(SIZES)
    ]
    rule = Hebbian(layout_of(blocks, (3,), CLASSES), **settings)
    network = Network(
        ProjectedContext(CLASSES, (SIZES[1],)),
        blocks,
        Readout(SIZES[2], CLASSES),
        rule=rule,
        predict="vote",
    ).double()
    with torch.no_grad():
        rule.loop.copy_(torch.randn(CLASSES, SIZES[1]))
    return network


def weights_of(network: Network):
    layers = [*(block.synapse for block in network.blocks), network.readout.synapse]
    return [(layer.weight.tolist(), layer.bias.tolist()) for layer in layers]


def rate(voltage: float, steep: float = 4.0) -> float:
    return 1 / (1 + math.exp(-steep * (voltage - 0.2)))


def relax_by_hand(network, sequence, carries, asked=None, nudge=0.0):
    """One sample's last rates of each layer and output voltages, neuron by neuron.

    What is asked of the output is shown from the middle of the sequence on.
    """
    weights, loop = weights_of(network), network.rule.loop.tolist()
    voltages = [[0.0] * len(w) for w, _ in weights]
    for t, x in enumerate(sequence):
        shown = asked and t >= len(sequence) // 2
        said = [rate(v) for v in voltages[-1]]
        pull = [nudge * (asked[c] - said[c]) for c in range(CLASSES)] if shown else [0.0] * CLASSES
        back = said if carries == "output" else pull
        below = x
        for index, (w, b) in enumerate(weights):
            for j in range(len(w)):
                current = sum(w[j][i] * below[i] for i in range(len(below))) + b[j]
                if index == 0:
                    current += sum(loop[c][j] * back[c] for c in range(CLASSES))
                if index == len(weights) - 1:
                    current += pull[j]
                voltages[index][j] = BETA * voltages[index][j] + (1 - BETA) * current
            below = [rate(v) for v in voltages[index]]
    return [[rate(v) for v in layer] for layer in voltages[:-1]], voltages[-1]


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "varying"])
@pytest.mark.parametrize("carries", ["error", "output"])
def test_the_update_is_the_one_worked_out_by_hand(carries, constant, steps):
    nudge = 0.3
    network = small(carries=carries, nudge=nudge)
    x = torch.randn(steps, 6, 3, dtype=torch.float64)
    x = x[:1].expand(steps, 6, 3) if constant else x
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    learned = network.learn(x, labels)

    sizes = [*SIZES, CLASSES]
    weight = [torch.zeros(b, a).double() for a, b in pairwise(sizes)]
    bias = [torch.zeros(b).double() for b in sizes[1:]]
    loop = torch.zeros(CLASSES, SIZES[1]).double()
    scores = []
    for sample in range(6):
        sequence = [step[sample].tolist() for step in x]
        asked = [float(labels[sample] == c) for c in range(CLASSES)]
        free, said = relax_by_hand(network, sequence, carries)
        pulled, told = relax_by_hand(network, sequence, carries, asked, nudge)
        scores.append(said)
        if constant or steps == 1:
            before = sequence[0]
        else:
            before = [
                sum((1 - BETA) * BETA ** (steps - 1 - t) * sequence[t][i] for t in range(steps))
                for i in range(SIZES[0])
            ]
        befores = [before, *free]
        moved = [
            [(p - f) / nudge for p, f in zip(after, was, strict=True)]
            for after, was in zip([*pulled, told], [*free, said], strict=True)
        ]
        for layer in range(3):
            for j in range(sizes[layer + 1]):
                bias[layer][j] += moved[layer][j] / 6
                for i in range(sizes[layer]):
                    weight[layer][j, i] += moved[layer][j] * befores[layer][i] / 6
        for c in range(CLASSES):
            for j in range(SIZES[1]):
                loop[c, j] += moved[2][c] * free[0][j] / 6

    layers = [*(block.synapse for block in network.blocks), network.readout.synapse]
    for layer, w, b in zip(layers, weight, bias, strict=True):
        torch.testing.assert_close(layer.weight.grad, -w)
        torch.testing.assert_close(layer.bias.grad, -b)
    torch.testing.assert_close(network.rule.loop.grad, -loop)
    spoken = torch.tensor(scores).double()
    torch.testing.assert_close(learned.scores, spoken.log_softmax(1))
    torch.testing.assert_close(network(x), spoken.log_softmax(1))


def test_an_answer_that_is_right_already_changes_nothing():
    """The network is asked for what it says anyway, after it has said it."""
    network = small(steep=1.0)
    with torch.no_grad():
        current = network.blocks[0].current(torch.randn(1, 2, 3).double().expand(203, 2, 3))
    said = relax(network, current[:200], network.rule.loop)
    asked = Target(torch.sigmoid(said.output - 0.2), 0.3)
    still = relax(network, current[200:], network.rule.loop, start=said)
    pulled = relax(network, current[200:], network.rule.loop, start=said, target=asked)
    for mine, theirs in zip(
        [*pulled.rates, pulled.output], [*still.rates, still.output], strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)
    whole = relax(network, current, network.rule.loop)
    assert torch.equal(still.rates[1], whole.rates[1])


@pytest.mark.parametrize("pulled", [False, True], ids=["free", "pulled"])
@pytest.mark.parametrize("carries", ["error", "output"])
def test_it_comes_to_rest_where_its_equations_hold(carries, pulled):
    nudge = 0.4
    network = small(steep=1.0, carries=carries, nudge=nudge)
    x = torch.randn(1, 1, 3, dtype=torch.float64)
    asked = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        current = network.blocks[0].current(x.expand(200, 1, 3))
    rested = relax(
        network, current, network.rule.loop, carries=carries,
        target=Target(asked, nudge) if pulled else None,
    )  # fmt: skip

    (w1, b1), (w2, b2), (w3, b3) = (
        (torch.tensor(w).numpy(), torch.tensor(b).numpy()) for w, b in weights_of(network)
    )
    loop = network.rule.loop.detach().numpy()

    def f(u):
        return 1 / (1 + np.exp(-(u - 0.2)))

    def imbalance(state):
        u1, u2, y = np.split(state, [SIZES[1], SIZES[1] + SIZES[2]])
        pull = nudge * (asked.numpy()[0] - f(y)) if pulled else np.zeros(CLASSES)
        back = f(y) if carries == "output" else pull
        return np.concatenate(
            [
                u1 - (w1 @ x.numpy()[0, 0] + b1 + back @ loop),
                u2 - (w2 @ f(u1) + b2),
                y - (w3 @ f(u2) + b3 + pull),
            ]
        )

    solution = fsolve(imbalance, np.zeros(SIZES[1] + SIZES[2] + CLASSES), xtol=1e-13)
    assert np.abs(imbalance(solution)).max() < 1e-10
    u1, u2, y = np.split(solution, [SIZES[1], SIZES[1] + SIZES[2]])
    for mine, theirs in ((rested.rates[0], f(u1)), (rested.rates[1], f(u2)), (rested.output, y)):
        torch.testing.assert_close(mine[0], torch.from_numpy(theirs), atol=1e-6, rtol=0)


def test_no_gradient_is_ever_asked_for(monkeypatch):
    """Nothing is walked backwards, and nothing is even kept for it."""

    def refused(*args, **kwargs):
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(torch.Tensor, "backward", refused)
    monkeypatch.setattr(torch.autograd, "backward", refused)
    monkeypatch.setattr(torch.autograd, "grad", refused)
    network = small(norm=True)
    x, labels = torch.randn(4, 6, 3).double(), torch.arange(6) % 2
    with torch.autograd.graph.saved_tensors_hooks(refused, refused):
        network.learn(x, labels)
        list(network.stages(x))
        network(x)
        with pytest.raises(AssertionError, match="gradient"):  # the instrument itself
            network.blocks[0].synapse(x[0])
    assert {n for n, p in network.named_parameters() if p.grad is not None} == {
        "rule.loop", "readout.synapse.weight", "readout.synapse.bias",
        *(f"blocks.{i}.synapse.{part}" for i in (0, 1) for part in ("weight", "bias")),
    }  # fmt: skip


def test_it_learns_in_inference_mode():
    """Where torch can't build a graph at all."""
    network = small(norm=True)
    x, labels = torch.randn(4, 6, 3).double(), torch.arange(6) % 2
    with torch.inference_mode():
        network.learn(x, labels)
    assert all(block.synapse.weight.grad.abs().max() > 0 for block in network.blocks)


def test_the_normalisers_do_not_move_between_the_passes():
    """With a silent loop the target reaches no block, in training too."""
    network = small(norm=True)
    with torch.no_grad():
        network.rule.loop.zero_()
    network.learn(torch.randn(4, 6, 3).double(), torch.arange(6) % 2)
    for block in network.blocks:
        assert block.synapse.weight.grad.abs().max() == 0
        assert int(block.norm.batches) == 1
    assert network.readout.synapse.weight.grad.abs().max() > 0
    network.eval()
    network.learn(torch.randn(4, 6, 3).double(), torch.arange(6) % 2)
    assert all(int(block.norm.batches) == 1 for block in network.blocks)


@pytest.mark.parametrize(
    ("synapse", "shape"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 4)),
        (lambda: nn.Linear(12, 5, bias=False), (12,)),
        (lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (4, 7, 7)),
        (
            lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=2, dilation=2)),
            (2, 8, 8),
        ),
    ],
    ids=["flattened", "no bias", "convolution", "pooled convolution"],
)
def test_the_hebbian_product_is_the_synapses_own_gradient(synapse, shape):
    torch.manual_seed(1)
    made = synapse().double()
    before = torch.randn(7, *shape, dtype=torch.float64)
    after = torch.randn_like(made(before))
    params = list(made.parameters())
    expected = torch.autograd.grad(-(made(before) * after).sum() / 7, params)
    correlate(made, before, after)
    correlate(made, before, after)  # adds up, as gradients do
    for parameter, gradient in zip(params, expected, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_what_a_membrane_holds_of_its_input():
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    expected = sum(0.4 * 0.6 ** (4 - t) * x[t] for t in range(5))
    torch.testing.assert_close(held(Rate(beta=0.6), x), expected)
    assert torch.equal(held(Rate(beta=0.6), x[:1].expand(5, 2, 3)), x[0])


def test_layers_are_named_once_in_order_and_frozen_ones_left_out():
    network = small()
    network.blocks[1].requires_grad_(False)
    named = []
    learned = network.learn(torch.randn(3, 6, 3).double(), torch.arange(6) % 2, named.append)
    assert named == ["block1", "readout"]
    assert network.blocks[1].synapse.weight.grad is None
    assert [layer.name for layer in learned.layers] == ["block1", "block2", "readout"]


def test_a_fixed_loop_stays_as_it_was_drawn():
    network = small(learned=False)
    network.learn(torch.randn(3, 6, 3).double(), torch.arange(6) % 2)
    assert network.rule.loop.grad is None
    assert network.rule.local_parameters() == {}


def test_every_step_can_be_recorded():
    network = small(carries="output")
    x = torch.randn(5, 2, 3).double()
    kept = network.record(x, ("spike", "voltage"))
    assert kept["block2"]["spike"].shape == (5, 2, SIZES[2])
    for t in (1, 3, 5):
        free, _ = relax_by_hand(network, [step[0].tolist() for step in x[:t]], "output")
        torch.testing.assert_close(
            kept["block2"]["spike"][t - 1, 0], torch.tensor(free[1]).double()
        )
    torch.testing.assert_close(
        torch.sigmoid(4 * (kept["block1"]["voltage"] - 0.2)), kept["block1"]["spike"]
    )
    with pytest.raises(SigpropError, match="'trace'"):
        network.record(x, ("trace",))


@pytest.mark.parametrize("carries", ["error", "output"])
def test_it_learns_digits(carries):
    torch.manual_seed(0)
    data = load("digits", steps=6, batch_size=32, train_samples=800)
    network = mlp(
        data.shape, 10, hidden=(128, 128), neuron=NEURONS["leaky-rate"], gain=1.0,
        rule=lambda layout: Hebbian(layout, carries=carries), predict="vote",
    )  # fmt: skip
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    untrained = [block.synapse for block in network.blocks][1].weight.detach().clone()
    for _ in range(4):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
    assert evaluate(network, data.test).accuracy > 0.9
    assert not torch.equal(network.blocks[1].synapse.weight, untrained)


def test_convolutions_relax_and_learn():
    torch.manual_seed(0)
    blocks = [
        Block(
            nn.Conv2d(a, b, 3, padding=1), NEURONS["leaky-rate"](),
            norm=RunningNorm(b), pool=nn.AvgPool2d(2),
        )
        for a, b in ((1, 3), (3, 4))
    ]  # fmt: skip
    rule = Hebbian(layout_of(blocks, (1, 8, 8), 3))
    nn.init.normal_(rule.loop)
    network = Network(
        ProjectedContext(3, (3, 8, 8)), blocks, Readout(16, 3), rule=rule, predict="vote"
    )
    network.learn(torch.rand(4, 6, 1, 8, 8), torch.arange(6) % 3)
    assert all(block.synapse.weight.grad.abs().max() > 0 for block in blocks)


def test_the_loop_is_saved_with_the_network():
    network, other = small(), small()
    with torch.no_grad():
        network.rule.loop.normal_()
    other.load_state_dict(network.state_dict())
    x = torch.randn(3, 2, 3).double()
    assert torch.equal(other(x), network(x))


def test_what_can_not_relax_is_refused():
    network = small()
    x, labels = torch.randn(3, 2, 3).double(), torch.tensor([0, 1])
    network.blocks[1].neuron = LIF()
    with pytest.raises(SigpropError, match="LIF in block2 sends spikes"):
        network.learn(x, labels)
    network = small()
    network.blocks[0].synapse = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double()
    with pytest.raises(SigpropError, match="not defined for the synapse Tanh"):
        network.learn(x, labels)
    network = small()
    network.readout = None
    with pytest.raises(SigpropError, match="no readout"):
        network.learn(x, labels)
    network = small()
    with pytest.raises(SigpropError, match="does not fit block1"):
        network.learn(torch.randn(3, 2, 7).double(), labels)


def test_settings_out_of_range_are_refused():
    layout = Layout(2, ((3,),), ((4,),), ((4,),))
    with pytest.raises(SigpropError, match="nudge is"):
        Hebbian(layout, nudge=0.0)
    with pytest.raises(UnknownNameError):
        Hebbian(layout, carries="nothing")
