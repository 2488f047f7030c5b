"""OTTT against its equation in plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import LIF, AllToAll, ParametricLIF, Recurrent
from sigprop_snn.rules import Backpropagation, OnlineThroughTime

KAPPA = 0.85
CASES = [
    (kind, neuron) for kind in ("dense", "pictures") for neuron in ("lif", "scaled lif", "rate")
]


def rule(_):
    return OnlineThroughTime()


def add(total, new):
    return new if total is None else [a + b for a, b in zip(total, new, strict=True)]


@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_every_step_sends_its_error_down_and_meets_the_traces(
    network, batch, hand, agree, kind, neuron, constant
):
    net = network(kind, rule, neuron)
    x, labels = batch(kind, neuron, constant=constant)
    learned = net.learn(x, labels)
    by_hand = hand(net, x, labels)
    assert (learned.scores - by_hand.scores).abs().max() < 1e-10
    agree(net.readout, by_hand.readout_step_gradients())
    totals = [None] * len(net.blocks)
    for t, step_error in enumerate(by_hand.step_errors()):
        # dL[t]/dy[t] through the readout's weights into the spikes of this step alone.
        error = step_error @ net.readout.synapse.weight.detach()
        error = error.view(by_hand.blocks[-1].sent.shape[1:])
        for index in reversed(range(len(net.blocks))):
            mine = by_hand.blocks[index]
            alone = torch.zeros_like(mine.sent)
            alone[t] = error
            voltage_error = mine.unpooled(alone)[t] * mine.slopes[t]
            # What the past left: every step's share of the voltage of this one.
            current_error = torch.zeros_like(mine.raw)
            for k in range(t + 1):
                current_error[k] = mine.share * mine.beta ** (t - k) * voltage_error
            totals[index] = add(totals[index], mine.gradients(current_error))
            now = torch.zeros_like(current_error)
            now[t] = mine.share * voltage_error
            error = mine.below(now, net.blocks[index].synapse.weight.detach())[t]
    for block, total in zip(net.blocks, totals, strict=True):
        agree(block, total)


def test_traces_in_plain_loops(dense, batch):
    """The weight's gradient alone, as the paper writes it."""
    net = dense(rule, sizes=(7, 9))
    x, labels = batch()
    net.learn(x, labels)
    kept = net.eval().record(x, ["spike", "voltage"])["block1"]
    block = net.blocks[0]
    raw = torch.stack([block.synapse(step) for step in x]).detach()
    scale = block.norm.gain.detach() / (raw.square().mean() + 1e-6).sqrt()
    trace, y, total = torch.zeros_like(x[0]), 0.0, 0.0
    for t in range(len(x)):
        trace = 0.8 * trace + x[t]
        y = KAPPA * y + net.readout.synapse(kept["spike"][t]).detach()
        error = (y.softmax(1) - torch.eye(4).double()[labels]) / (len(labels) * len(x))
        psi = 1.5 / (1 + 3 * (kept["voltage"][t] - 1).abs()) ** 2
        total = total + ((error @ net.readout.synapse.weight.detach()) * psi * scale).t() @ trace
    assert total.abs().max() > 1e-5
    assert (block.synapse.weight.grad - total).abs().max() < 1e-12


def test_one_step_of_rates_is_backpropagation(dense, batch):
    nets = [dense(make, "rate") for make in (rule, lambda _: Backpropagation())]
    for net in nets:
        net.learn(*batch(neuron="rate"))
    for a, b in zip(*(net.blocks.parameters() for net in nets), strict=True):
        assert b.grad.abs().max() > 1e-7
        assert (a.grad - b.grad).abs().max() < 1e-12


def test_what_it_keeps_does_not_grow_with_the_steps(dense, batch):
    """Tensors saved for a backward pass and alive at once, counted."""
    peaks = {}
    for steps in (4, 16):
        for make in (rule, lambda _: Backpropagation()):
            net = dense(make)
            torch.manual_seed(0)
            x, labels = torch.randn(steps, 6, 7, dtype=torch.float64), torch.arange(6) % 4
            live = peak = 0

            class Held:
                def __init__(self, tensor):
                    nonlocal live, peak
                    self.tensor = tensor
                    live += tensor.numel()
                    peak = max(peak, live)

                def __del__(self):
                    nonlocal live
                    live -= self.tensor.numel()

            with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
                net.learn(x, labels)
            peaks[type(net.rule), steps] = peak
    assert peaks[OnlineThroughTime, 16] == peaks[OnlineThroughTime, 4] > 0
    assert peaks[Backpropagation, 16] > 2 * peaks[Backpropagation, 4]


def test_what_it_is_not_defined_for_is_refused(dense, batch):
    with pytest.raises(SigpropError, match="Recurrent in block1 is recurrent"):
        dense(rule, lambda: Recurrent(LIF(), AllToAll((8,))), sizes=(7, 8, 8)).learn(*batch())
    with pytest.raises(SigpropError, match="ParametricLIF in block1 does not have"):
        dense(rule, ParametricLIF).learn(*batch())
    net = dense(rule)
    net.blocks[0].synapse = nn.Sequential(nn.Linear(7, 9), nn.Tanh()).double()
    with pytest.raises(SigpropError, match="synapse or the normaliser of block1"):
        net.learn(*batch())
