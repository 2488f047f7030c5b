"""No gradient crosses a block or goes through the spike function, under either rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningScale,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import LIF

RULES = [
    pytest.param(VoltageRule("rectified"), id="rectified"),
    pytest.param(VoltageRule("mean"), id="mean"),
    pytest.param(VoltageRule("sigmoid"), id="sigmoid"),
    pytest.param(SurrogateRule(), id="surrogate"),
]


def _learns(given) -> bool:
    """Return whether an input, a tensor or spikes, carries a gradient."""
    return (given if isinstance(given, Tensor) else given.dense()).requires_grad


def walk(root: Tensor) -> tuple[set[str], set[Tensor]]:
    """Return the names of all nodes behind a tensor and the leaves its gradient reaches."""
    names, leaves, seen = set(), set(), set()
    waiting = [root.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(node.name())
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        waiting += [next_node for next_node, _ in node.next_functions]
    return names, leaves


def test_the_walk_sees_a_spike_function_and_another_blocks_weights():
    """The instrument itself: on a graph that does cross, it must say so."""
    below, above = nn.Linear(3, 4), nn.Linear(4, 2)
    loss = above(LIF().fire(below(torch.ones(1, 3)))).sum()
    names, leaves = walk(loss)
    assert any("_Spike" in name for name in names)
    assert leaves == {*below.parameters(), *above.parameters()}


@pytest.mark.parametrize("kind", ["dense", "pictures"])
@pytest.mark.parametrize("rule", RULES)
def test_each_loss_reaches_its_own_parameters_and_nothing_else(request, batch, rule, kind):
    network = request.getfixturevalue(kind)(rule)
    x, labels = batch((6,) if kind == "dense" else (2, 8, 8))
    own = {f"block{i + 1}": set(block.parameters()) for i, block in enumerate(network.blocks)}
    own["block1"] |= set(network.signal.parameters())
    own["readout"] = set(network.readout.parameters())
    seen = []
    for stage in network.stages(x, labels):
        names, leaves = walk(stage.loss)
        assert leaves == own[stage.name]
        assert not any("Spike" in name for name in names)
        if stage.response is not None:
            assert not stage.response.run.spike.requires_grad
            assert not stage.response.run.mean_voltage.requires_grad
        seen.append(stage.name)
    assert seen == list(own)
    assert {name: set(found) for name, found in network.local_parameters().items()} == own


@pytest.mark.parametrize("rule", RULES)
def test_no_gradient_goes_through_the_spike_function(dense, batch, rule, monkeypatch):
    def refused(ctx: object, *grads: Tensor) -> None:
        raise AssertionError("a gradient went through the spike function")

    monkeypatch.setattr("sigprop_snn.surrogates.base._Spike.backward", staticmethod(refused))
    network = dense(rule)
    network.learn(*batch())
    assert all(p.grad is not None for p in network.parameters())
    spike = network.blocks[0].neuron.fire(torch.ones(2, requires_grad=True))
    with pytest.raises(AssertionError, match="through the spike"):
        spike.sum().backward()


@pytest.mark.parametrize("synapse", ["affine", "not affine"])
@pytest.mark.parametrize("rule", RULES)
def test_nothing_that_a_layer_receives_carries_a_gradient(dense, batch, rule, synapse):
    network = dense(rule)
    if synapse == "not affine":
        for block in network.blocks:
            block.norm = nn.LayerNorm(block.synapse.out_features).double()
    calls = []
    for module in [*(block.synapse for block in network.blocks), network.readout.synapse]:
        module.register_forward_pre_hook(lambda _, given: calls.append(_learns(given[0])))
    network.learn(*batch())
    assert len(calls) >= 4
    assert not any(calls)


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_does_not_leave_through_the_input(dense, batch, rule):
    """What made the input, an encoder say, is none of the first block's business."""
    network = dense(rule)
    x, labels = batch()
    encoder = torch.ones(6, dtype=torch.float64, requires_grad=True)
    network.learn(x * encoder, labels)
    assert encoder.grad is None


@pytest.mark.parametrize("rule", RULES)
def test_a_pool_with_weights_gets_no_gradient_from_the_layer_above(batch, rule):
    torch.manual_seed(0)
    first = Block(nn.Linear(6, 10), LIF(0.8), norm=RunningScale(10, 2.0), pool=nn.Linear(10, 5))
    second = Block(nn.Linear(5, 7), LIF(0.8), norm=RunningScale(7, 2.0), pool=nn.Linear(7, 3))
    signal = ProjectedContext(4, (10,), gain=2.0)
    network = Network(signal, [first, second], Readout(3, 4), rule=rule).double()
    x, labels = batch()
    for stage in network.stages(x, labels):
        _, leaves = walk(stage.loss)
        if stage.name != "block1":
            assert leaves.isdisjoint(first.parameters())
        if stage.name == "readout":
            assert leaves.isdisjoint(second.parameters())


@pytest.mark.parametrize("rule", RULES)
def test_a_layers_gradient_is_the_same_whatever_lies_above_it(dense, batch, rule):
    x, labels = batch()
    network = dense(rule)
    network.learn(x, labels)
    before = [p.grad.clone() for p in network.blocks[0].parameters()]
    before += [p.grad.clone() for p in network.signal.parameters()]

    changed = dense(rule)
    with torch.no_grad():
        for module in (changed.blocks[1], changed.blocks[2], changed.readout):
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
    changed.learn(x, labels)
    after = [p.grad for p in changed.blocks[0].parameters()]
    after += [p.grad for p in changed.signal.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    above = [m.blocks[1].synapse.weight.grad for m in (network, changed)]
    assert not torch.equal(*above)


@pytest.mark.parametrize("rule", RULES)
def test_learning_one_layer_alone_gives_the_gradient_it_gets_in_the_row(dense, batch, rule):
    """The pass may stop anywhere: the layers so far have all they need."""
    x, labels = batch()
    whole, part = dense(rule), dense(rule)
    whole.learn(x, labels)
    for stage in part.stages(x, labels):
        stage.loss.backward()
        if stage.name == "block2":
            break
    for index in (0, 1):
        for a, b in zip(
            whole.blocks[index].parameters(), part.blocks[index].parameters(), strict=True
        ):
            assert torch.equal(a.grad, b.grad)
    assert all(p.grad is None for p in part.blocks[2].parameters())
