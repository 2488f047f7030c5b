"""E-prop against its recursion in plain loops, and against backpropagation where both agree."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import RunningNorm
from sigprop_snn.neurons import LIF, QIF, AllToAll, Recurrent
from sigprop_snn.rules import EProp

KAPPA = 0.85


def loops(net, index, x, spikes, voltages, signals):
    """Gradients of a fully connected LIF block, one synapse trace at a time.

    Args:
        net: the network.
        index: of the block.
        x: its inputs, a list of `[B, I]`.
        spikes: its own, a list of `[B, J]`.
        voltages: before the reset, likewise.
        signals: the learning signals, likewise.
    """
    block = net.blocks[index]
    neuron = block.neuron
    lif = neuron.neuron if isinstance(neuron, Recurrent) else neuron
    weight, bias = block.synapse.weight.detach(), block.synapse.bias.detach()
    gain = block.norm.gain.detach()
    raws = [step @ weight.t() + bias for step in x]
    size = (torch.stack(raws).square().mean() + 1e-6).sqrt()
    rows, ins, outs = x[0].shape[0], x[0].shape[1], weight.shape[0]
    grads = {name: torch.zeros_like(p) for name, p in block.named_parameters()}
    for b in range(rows):
        for j in range(outs):
            pre, own = [0.0] * ins, [0.0] * outs
            ones = raw_trace = 0.0
            filtered = {key: 0.0 for key in range(ins + outs + 2)}
            before = [0.0] * outs
            for t in range(len(x)):
                u = float(voltages[t][b, j]) - lif.threshold
                psi = 0.5 * 3.0 / (1 + 3.0 * abs(u)) ** 2
                scale = float(gain[j] / size)
                pre = [lif.beta * e + float(x[t][b, i]) for i, e in enumerate(pre)]
                own = [lif.beta * e + before[i] for i, e in enumerate(own)]
                ones = lif.beta * ones + 1.0
                raw_trace = lif.beta * raw_trace + float(raws[t][b, j] / size)
                eligible = [psi * scale * e for e in pre] + [psi * e for e in own]
                eligible += [psi * scale * ones, psi * raw_trace]
                signal = float(signals[t][b, j])
                for key, e in enumerate(eligible):
                    filtered[key] = KAPPA * filtered[key] + e
                    what = signal * filtered[key]
                    if key < ins:
                        grads["synapse.weight"][j, key] += what
                    elif key < ins + outs:
                        if "neuron.synapse.weight" in grads:
                            grads["neuron.synapse.weight"][j, key - ins] += what
                    elif key == ins + outs:
                        grads["synapse.bias"][j] += what
                    else:
                        grads["norm.gain"][j] += what
                before = [float(s) for s in spikes[t][b]]
    return grads


def passed(net, x):
    """Inputs, spikes and voltages of every block, from the recorder."""
    kept = net.record(x, ["spike", "voltage"])
    layers, inputs = [], x
    for index in range(len(net.blocks)):
        found = kept[f"block{index + 1}"]
        layers.append((list(inputs), list(found["spike"]), list(found["voltage"])))
        inputs = found["spike"]
    return layers


def readout_errors(net, spikes, labels):
    """(softmax(y[t]) - target) / (B T) at every step."""
    voltage, errors = 0.0, []
    for step in spikes:
        voltage = KAPPA * voltage + net.readout.synapse(step).detach()
        right = torch.eye(4, dtype=torch.float64)[labels]
        errors.append((voltage.softmax(1) - right) / (len(labels) * len(spikes)))
    return errors


def recurrent_lif(features: int = 4) -> Recurrent:
    from sigprop_snn.surrogates import FastSigmoid

    return Recurrent(LIF(0.8, surrogate=FastSigmoid(3.0)), AllToAll((features,)))


@pytest.mark.parametrize("recurrent", [False, True], ids=["feed-forward", "recurrent"])
def test_the_gradient_is_that_of_a_trace_for_every_synapse(dense, batch, recurrent):
    net = dense(EProp, recurrent_lif if recurrent else "lif", sizes=(3, 4, 4))
    x, labels = batch(width=3)
    net.learn(x, labels)
    layers = passed(net.eval(), x)  # the statistics stay those of this very batch
    errors = readout_errors(net, layers[-1][1], labels)
    assert 0.02 < torch.stack(layers[0][1]).mean() < 0.9
    for index, (inputs, spikes, voltages) in enumerate(layers):
        signals = [error @ net.rule.feedback[index].weight for error in errors]
        expected = loops(net, index, inputs, spikes, voltages, signals)
        for name, parameter in net.blocks[index].named_parameters():
            assert expected[name].abs().max() > 1e-7
            assert (parameter.grad - expected[name]).abs().max() < 1e-10


def test_feature_maps_and_rates_learn_by_the_same_sum(network, batch, hand, agree):
    """Over a whole pass: signals filtered back in time meet what every step's spike gives."""
    for kind, neuron in (("pictures", "lif"), ("pictures", "rate"), ("dense", "scaled lif")):
        net = network(kind, EProp, neuron)
        x, labels = batch(kind, neuron)
        net.learn(x, labels)
        by_hand = hand(net, x, labels)
        agree(net.readout, by_hand.readout_step_gradients())
        errors = by_hand.step_errors()
        for block, mine, fixed in zip(net.blocks, by_hand.blocks, net.rule.feedback, strict=True):
            sent = []
            for t in range(len(x)):
                later = sum(KAPPA ** (k - t) * errors[k] for k in range(t, len(x)))
                sent.append(later @ fixed.weight)
            sent = torch.stack(sent).view_as(mine.sent)
            agree(block, mine.gradients(mine.through_time(mine.unpooled(sent))))


def spiked(voltage):
    u = voltage - 1.0
    smooth = 0.5 + 1.5 * u / (1 + 3 * u.abs())
    return (u > 0).double() + (smooth - smooth.detach())


@pytest.mark.parametrize("recurrent", [False, True], ids=["feed-forward", "recurrent"])
def test_one_hidden_layer_with_symmetric_feedback_is_backpropagation_through_time(
    dense, batch, recurrent
):
    """Exact without recurrence; with it, exact but for the errors that recurrent spikes carry."""
    model = partial(recurrent_lif, 9) if recurrent else "lif"
    net = dense(partial(EProp, feedback="symmetric"), model, sizes=(7, 9))
    x, labels = batch()
    learned = net.learn(x, labels)
    mine = [p.grad.clone() for p in (*net.blocks.parameters(), *net.readout.parameters())]
    net.zero_grad()

    def gradients(*, held: bool):
        net.zero_grad()
        block = net.blocks[0]
        raw = [block.synapse(step) for step in x]
        size = (torch.stack(raw).detach().square().mean() + 1e-6).sqrt()
        carried = integrated = loss = 0.0
        last = torch.zeros(len(labels), 9, dtype=torch.float64)
        for each in raw:
            current = block.norm.gain * each / size
            if recurrent:
                before = last.detach() if held else last
                current = current + before @ block.neuron.synapse.weight.t()
            voltage = 0.8 * carried + current
            last = spiked(voltage)
            carried = voltage - last.detach()
            integrated = KAPPA * integrated + net.readout.synapse(last)
            loss = loss + F.cross_entropy(integrated, labels) / len(x)
        loss.backward()
        assert learned.layers[-1].loss == pytest.approx(loss.item(), abs=1e-12)
        return [p.grad.clone() for p in (*net.blocks.parameters(), *net.readout.parameters())]

    theirs = gradients(held=True)
    assert all(b.abs().max() > 1e-7 for b in theirs)
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(mine, theirs, strict=True))
    if recurrent:
        whole = gradients(held=False)
        assert max((a - b).abs().max() for a, b in zip(mine, whole, strict=True)) > 1e-4


def test_symmetric_feedback_below_the_last_block_stays_random(dense, batch):
    nets = [dense(partial(EProp, feedback=how)) for how in ("random", "symmetric")]
    for net in nets:
        net.learn(*batch())
    first, second = ([net.blocks[i].synapse.weight.grad for net in nets] for i in (0, 1))
    assert torch.equal(*first)
    assert not torch.allclose(*second)


def test_what_has_no_trace_is_refused(dense, batch):
    with pytest.raises(UnknownNameError, match="symmetric"):
        dense(partial(EProp, feedback="symetric"))
    with pytest.raises(SigpropError, match=r"QIF in block1.*LIF or Rate"):
        dense(EProp, QIF).learn(*batch())
    net = dense(EProp)
    net.blocks[1].norm = nn.LayerNorm(8).double()
    with pytest.raises(SigpropError, match="normaliser of block2"):
        net.learn(*batch())
    net.blocks[1].norm = RunningNorm(8).double()
    net.learn(*batch())
