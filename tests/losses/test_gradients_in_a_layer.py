"""What every loss of the catalogue teaches a layer, against autograd through the layer unrolled."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.network import LOSSES, Block, HebbianLoss, Network, ProjectedContext, VoltageRule
from sigprop_snn.neurons import LIF
from sigprop_snn.signals.conditioned_context import ConditionedContext

CLASSES, ROWS, STEPS = 4, 6, 5


def directions(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def centred(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    return x - x.mean(axis, keepdim=True)


def entropy(scores, shares):
    return -(shares * (scores - scores.logsumexp(1, keepdim=True))).sum(1).mean()


def near(h, t):
    return torch.einsum("bd,bkd->bk", directions(h), directions(t))


def l2(h, t, right, incoming):
    size = h.detach().square().mean()
    return entropy(-20 * (h[:, None] - t).square().mean(2) / size, right)


def cosine(h, t, right, incoming):
    z = near(centred(h), centred(t))
    return ((right * (1 - z)).sum(1) + ((1 - right) * z.clamp(min=0)).sum(1) / (CLASSES - 1)).mean()


def contrastive(h, t, right, incoming):
    z = 10 * near(h, t)
    back = -(right / right.sum(0) * (z - z.logsumexp(0))).sum(0).mean()
    return (entropy(z, right) + back) / 2


def hebbian(h, t, right, incoming):
    t = centred(t.detach(), 1)
    left, size, turned = torch.linalg.svd(t, full_matrices=False)
    apart = torch.einsum("bij,bj,bjd->bid", left, (size > 1e-9).double(), turned)
    return -(right * torch.einsum("bd,bkd->bk", h, apart)).sum(1).mean()


def binary(h, t, right, incoming):
    odds = 10 * (near(centred(h), centred(t)) - 0.3)
    return (F.softplus(odds) - right * odds).mean()


def top_k(h, t, right, incoming):
    if incoming is None:
        return entropy(20 * near(h, t), right)
    alike = directions(incoming.mean(0)) @ directions(incoming.mean(0)).t()
    last = alike.sort(1, descending=True).values[:, 2:3]
    weights = torch.where(alike >= last, (alike / 0.1).exp(), 0.0)
    return entropy(20 * near(h, t), right @ (weights / weights.sum(1, keepdim=True)))


ORACLES = {
    "dot-product": lambda h, t, right, incoming: entropy(20 * near(h, t), right),
    "top-k": top_k,
    "l2": l2,
    "cosine": cosine,
    "contrastive": contrastive,
    "hebbian": hebbian,
    "binary": binary,
}


def unrolled_mean_voltage(block: Block, weight, bias, inputs, riding=None):
    voltage, total = 0.0, 0.0
    for step in inputs:
        current = step @ weight.t() + bias
        if riding is not None:
            current = torch.cat([current, riding])
        voltage = 0.8 * voltage + current
        total = total + voltage / STEPS
        voltage = voltage - (voltage.detach() > 1).double()
    return total


def make(name: str, *, own: bool) -> tuple[Network, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    signal = ProjectedContext(CLASSES, (10,), gain=2.0)
    if own:
        signal = ConditionedContext(CLASSES, (10,), (6,), wrong=CLASSES - 1, gain=2.0)
    blocks = [Block(nn.Linear(6, 10), LIF(0.8)), Block(nn.Linear(10, 8), LIF(0.8))]
    for block in blocks:
        nn.init.normal_(block.synapse.weight, std=0.7)
    rule = VoltageRule(statistic="mean")  # `tests/layers/test_closed_form.py` tests rectified ones
    net = Network(signal, blocks, rule=rule, loss=LOSSES[name]()).double()
    return net, torch.randn(STEPS, ROWS, 6).double(), torch.arange(ROWS) % CLASSES


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("name", ORACLES)
def test_both_layers_gradients_are_those_of_the_unrolled_layer(name, own):
    if own and name == "top-k":
        pytest.skip("targets are selected among shared contexts only")
    net, x, labels = make(name, own=own)
    right = F.one_hot(labels, CLASSES).double()
    inputs, riding, incoming = x, net.signal.enter(x, labels).contexts.detach(), None
    for block, stage in zip(net.blocks, net.stages(x, labels), strict=True):
        stage.loss.backward()
        weight, bias = (
            p.detach().clone().requires_grad_() for p in (block.synapse.weight, block.synapse.bias)
        )
        mean = unrolled_mean_voltage(block, weight, bias, inputs, riding)
        h, t = mean[:ROWS], mean[ROWS:]
        t = t.view(CLASSES, ROWS, -1).transpose(0, 1) if own else t.expand(ROWS, CLASSES, -1)
        loss = ORACLES[name](h, t, right, incoming)
        loss.backward()
        torch.testing.assert_close(stage.loss.detach(), loss.detach())
        ours = block.synapse.weight.grad
        torch.testing.assert_close(ours, weight.grad, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(block.synapse.bias.grad, bias.grad, rtol=1e-8, atol=1e-10)
        assert ours.abs().max() > 1e-4
        inputs, riding = stage.response.run.spike, None
        incoming = inputs[:, ROWS:]


def test_a_hebbian_layer_adds_the_presynaptic_trace_times_the_contexts_centred_voltage():
    net, x, labels = make("hebbian", own=False)
    net.loss = HebbianLoss(decorrelated=False)
    stages = list(net.stages(x, labels))
    stages[1].loss.backward()
    arriving, synapse = stages[0].response.run.spike, net.blocks[1].synapse
    trace, mean = torch.zeros(ROWS + CLASSES, 10).double(), torch.zeros(ROWS + CLASSES, 10).double()
    for step in arriving:  # what the membrane makes of each presynaptic neuron's spikes
        trace = 0.8 * trace + step
        mean += trace / STEPS
    contexts = stages[1].response.run.mean_voltage[ROWS:]
    taught = directions(centred(contexts, 0))[labels]
    torch.testing.assert_close(synapse.weight.grad, -taught.t() @ mean[:ROWS] / ROWS)
