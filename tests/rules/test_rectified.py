"""One call for a block's loss and gradient learns what the general path learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sigprop_snn.layers.block import Block
from sigprop_snn.losses.dot_product import DotProductLoss
from sigprop_snn.losses.similarity_matching import Similarity
from sigprop_snn.network import (
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import LIF, CurrentLIF, Recurrent
from sigprop_snn.rules.rectified import Rectified

CLASSES = 4
NORMS = {"none": lambda _: None, "scale": RunningScale, "norm": RunningNorm}
LOSSES = {
    "smoothed": DotProductLoss(label_smoothing=0.1),
    "with similarity": 0.5 * DotProductLoss() + 2 * Similarity(),
}


def dense(norm="scale", loss=None, neuron=LIF, **block):
    torch.manual_seed(0)
    make, loss = NORMS[norm], loss or DotProductLoss()
    blocks = [
        Block(nn.Sequential(nn.Flatten(), nn.Linear(12, 9)), neuron(), norm=make(9), **block),
        Block(nn.Linear(9, 9, bias=False), neuron(), norm=make(9), **block),
    ]
    signal = ProjectedContext(CLASSES, (9,), gain=2.0)
    return Network(signal, blocks, Readout(9, CLASSES), loss=loss).double()


def maps(norm="scale", loss=None, **block):
    torch.manual_seed(0)
    make, loss = NORMS[norm], loss or DotProductLoss(grid=3)
    blocks = [
        Block(nn.Conv2d(3, 4, 3, padding=1), LIF(), norm=make(4), pool=nn.MaxPool2d(2), **block),
        Block(nn.Conv2d(4, 5, 3, padding=1), LIF(), norm=make(5), **block),
    ]
    signal = ProjectedContext(CLASSES, (4, 8, 8), gain=2.0)
    return Network(signal, blocks, Readout(80, CLASSES), loss=loss).double()


def batch(network, steps=5):
    torch.manual_seed(1)
    shape = (3, 8, 8) if isinstance(network.blocks[0].synapse, nn.Conv2d) else (3, 2, 2)
    inputs = torch.rand(steps, 6, *shape) < 0.4
    return inputs.to(network.readout.synapse.weight.dtype), torch.arange(6) % CLASSES


def grads(network):
    return {name: p.grad for name, p in network.named_parameters()}


def counted(monkeypatch):
    """Count the blocks that learn by one call."""
    calls, respond = [], Rectified.respond

    def watched(self, *arguments):
        calls.append(self)
        return respond(self, *arguments)

    monkeypatch.setattr(Rectified, "respond", watched)
    return calls


def learn_both_ways(network, monkeypatch, update=None, prepare=lambda _: None):
    """Return the network after one batch by one call a block, a copy by the general path, reports.

    Every block of the first is checked to take the call.
    """
    other, reports = copy.deepcopy(network), []
    calls = counted(monkeypatch)
    inputs, labels = batch(network)
    prepare(network)
    prepare(other)
    reports.append(network.learn(inputs, labels, update))
    assert len(calls) == len(network.blocks)
    monkeypatch.setattr(Rectified, "of", classmethod(lambda *_: None))
    reports.append(other.learn(inputs, labels, update))
    assert len(calls) == len(network.blocks)
    return network, other, reports


def assert_equal(found, expected, reports):
    for name, value in grads(found).items():
        torch.testing.assert_close(value, grads(expected)[name], rtol=1e-9, atol=1e-12, msg=name)
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], msg=name)
    torch.testing.assert_close(reports[0].scores, reports[1].scores)
    for one, other in zip(reports[0].layers, reports[1].layers, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-12)
        assert one.correct == other.correct


@pytest.mark.parametrize("make", [dense, maps])
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_and_reports_are_those_of_the_general_path(make, norm, monkeypatch):
    assert_equal(*learn_both_ways(make(norm), monkeypatch))


@pytest.mark.parametrize("make", [dense, maps])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_the_general_path(make, loss, monkeypatch):
    assert_equal(*learn_both_ways(make(loss=LOSSES[loss]), monkeypatch))


@pytest.mark.parametrize("centred", ["batch", "running"])
@pytest.mark.parametrize("make", [dense, maps])
def test_centred_blocks_learn_as_in_the_general_path(make, centred, monkeypatch):
    assert_equal(*learn_both_ways(make("norm", centred=centred), monkeypatch))


def test_a_block_in_evaluation_learns_as_in_the_general_path(monkeypatch):
    assert_equal(*learn_both_ways(dense("norm", centred=True).eval(), monkeypatch))


def test_gradients_add_up_and_hooks_see_them(monkeypatch):
    def prepare(network):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        network.blocks[0].synapse[1].weight.register_hook(lambda grad: 2 * grad)

    found, expected, reports = learn_both_ways(dense(), monkeypatch, prepare=prepare)
    assert_equal(found, expected, reports)
    assert not torch.equal(found.blocks[1].synapse.weight.grad, torch.ones(9, 9).double())


@pytest.mark.parametrize("frozen", ["the block", "its weights", "all but the signal"])
def test_parameters_that_do_not_learn_get_no_gradient(frozen, monkeypatch):
    network, updates = dense(), []
    if frozen == "its weights":
        network.blocks[1].synapse.weight.requires_grad_(False)
    elif frozen == "the block":
        network.blocks[1].requires_grad_(False)
    else:
        network.blocks.requires_grad_(False)
    found, expected, reports = learn_both_ways(network, monkeypatch, updates.append)
    assert_equal(found, expected, reports)
    half = len(updates) // 2
    assert updates[:half] == updates[half:]
    assert ("block2" in updates) == (frozen == "its weights")


def test_a_hook_on_a_block_sees_what_passes(monkeypatch):
    network, seen = dense(), []
    network.blocks[0].register_forward_hook(lambda *given: seen.append(given[2].clone()))
    learn_both_ways(network, monkeypatch)
    one, other = seen
    assert torch.equal(one, other) and one.any()


def test_stages_with_labels_have_a_representation():
    network = dense()
    for stage in network.stages(*batch(network)):
        if stage.response is not None:
            assert stage.response.representation.requires_grad


def test_a_block_with_other_parts_takes_the_general_path():
    block, loss = dense().blocks[1], DotProductLoss()

    def fits(rule=None, loss=loss, **parts):
        changed = copy.deepcopy(block)
        for name, value in parts.items():
            setattr(changed, name, value)
        return Rectified.of(changed, rule or VoltageRule(), loss) is not None

    assert fits()
    assert fits(loss=2 * loss + Similarity())
    assert not fits(rule=SurrogateRule())
    assert not fits(rule=VoltageRule("mean"))
    assert not fits(loss=DotProductLoss(normalise="none"))
    assert not fits(loss=DotProductLoss(centred=True))
    assert not fits(loss=DotProductLoss(select="top-k"))
    assert not fits(synapse=nn.Sequential(nn.Linear(9, 9), nn.ReLU()))
    assert not fits(norm=nn.LayerNorm(9))
    assert not fits(neuron=Recurrent(LIF(), nn.Linear(9, 9)))
    assert fits(neuron=CurrentLIF())


def test_the_neutral_prediction_takes_the_general_path(monkeypatch):
    network, calls = dense(), counted(monkeypatch)
    network.predict = "neutral"
    assert network.learn(*batch(network)).scores.shape == (6, CLASSES)
    assert not calls


def test_under_autocast_the_gradients_stay_near(monkeypatch):
    with torch.autocast("cpu", torch.bfloat16):
        found, expected, _ = learn_both_ways(dense("norm").float(), monkeypatch)
    for name, value in grads(found).items():
        torch.testing.assert_close(value, grads(expected)[name], rtol=2e-2, atol=1e-3, msg=name)
