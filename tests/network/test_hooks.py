"""Forward hooks of torch fire on blocks, neurons and readouts, on every engine."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn.network import Block, Online
from sigprop_snn.rules import RULES

X, LABELS = (torch.rand(6, 4, 1, 8, 8) < 0.3).float(), torch.arange(4) % 3
STEP_BY_STEP = {"hebbian", "error-forward-relaxing", "predictive-forward-forward"}


def small(rule="voltage", **settings):
    torch.manual_seed(0)
    choice = RULES[rule]
    neuron = choice.neuron or "lif"
    options = {name: value for name, value in choice.options.items() if name != "hidden"}
    return sp.mlp((1, 8, 8), 3, hidden=(7, 6), rule=rule, neuron=neuron, **options, **settings)


def seen_by_hooks(network):
    """Return what hooks on every block, neuron and readout see, by name, one entry a call."""
    seen = {}
    for name, layer in network.named_layers():
        parts = (
            {name: layer, f"{name} neuron": layer.neuron} if name != "readout" else {name: layer}
        )
        for key, module in parts.items():
            calls = seen.setdefault(key, [])
            module.register_forward_hook(lambda _, i, o, calls=calls: calls.append((i, o)))
    return seen


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_hooks_see_what_record_returns(engine):
    torch.manual_seed(0)
    network = sp.conv((1, 8, 8), 3, channels=(16, 32)).eval()
    expected = network.record(X, ["spike"])
    with sp.use_engine(engine):
        seen = seen_by_hooks(network)
        scores = network(X)
    for index, block in enumerate(network.blocks):
        name = f"block{index + 1}"
        ((inputs, output),) = seen[name]
        ((no_current, spikes),) = seen[f"{name} neuron"]
        assert no_current == () and not output.requires_grad
        assert torch.equal(spikes, expected[name]["spike"])
        pooled = torch.stack([block.pool(step) for step in spikes])
        assert torch.equal(output, pooled)
        assert torch.equal(inputs[0], X if index == 0 else seen["block1"][0][1])
    ((_, read),) = seen["readout"]
    assert torch.equal(read, scores)


@pytest.mark.parametrize("rule", RULES)
def test_hooks_fire_while_a_rule_learns_and_change_nothing(rule):
    network = small(rule)
    twin = copy.deepcopy(network)
    seen = seen_by_hooks(network)
    for each in (network, twin):
        torch.manual_seed(1)
        each.learn(X, LABELS)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)
    if rule not in STEP_BY_STEP:
        for name in ("block1", "block1 neuron", "block2", "block2 neuron"):
            calls = seen[name]
            assert calls, name
            assert not any(t.requires_grad for i, o in calls for t in (*i, o))


def test_under_signal_propagation_a_hook_sees_the_contexts_behind_the_samples():
    network = small()
    seen = seen_by_hooks(network)
    network.learn(X, LABELS)
    ((inputs, output),) = seen["block2"]
    assert inputs[0].shape == (6, 4 + 3, 7) and output.shape == (6, 4 + 3, 6)


def test_hooks_fire_online_in_stages_and_while_recording():
    network = small()
    seen = seen_by_hooks(network)
    online = Online(network)
    for go in (
        lambda: online(X),
        lambda: online.learn(X, LABELS),
        lambda: list(network.stages(X)),
        lambda: network.record(X, "spike"),
    ):
        go()
        assert {len(calls) for calls in seen.values()} == {1}
        for calls in seen.values():
            calls.clear()


def test_hooks_that_come_before_and_hooks_with_keywords_fire():
    network, seen = small(), []
    block = network.blocks[0]
    block.register_forward_pre_hook(lambda module, i: seen.append(("before", i[0].shape)))
    block.register_forward_pre_hook(
        lambda module, i, k: seen.append(("before", k)), with_kwargs=True
    )
    block.register_forward_hook(lambda module, i, k, o: seen.append(("after", k)), with_kwargs=True)
    network(X)
    assert seen == [("before", X.shape), ("before", {}), ("after", {})]


def test_a_hook_that_is_removed_fires_no_more():
    network, seen = small(), []
    hook = network.blocks[0].register_forward_hook(lambda *given: seen.append(given))
    hook.remove()
    network(X)
    assert seen == []


@pytest.mark.parametrize("place", ["block1", "the neuron of block1", "readout"])
def test_a_hook_that_returns_something_is_refused(place):
    network = small()
    parts = {
        "block1": network.blocks[0],
        "the neuron of block1": network.blocks[0].neuron,
        "readout": network.readout,
    }
    parts[place].register_forward_hook(lambda module, i, o: 2 * o)
    with pytest.raises(sp.SigpropError, match=rf"{place} returned a Tensor of shape"):
        network(X)


def test_without_a_hook_no_activity_is_unpacked(monkeypatch):
    from sigprop_snn.layers import hooks

    monkeypatch.setattr(hooks, "_dense", lambda activity: pytest.fail("unpacked"))
    small()(X)


def test_a_block_can_be_called_and_fires_its_hook_once():
    block, seen = Block(nn.Linear(5, 4), sp.LIF()), []
    block.register_forward_hook(lambda module, i, o: seen.append(o))
    x = 2 * torch.rand(6, 3, 5)
    output = block(x)
    expected = sp.run(sp.LIF(), block.synapse(x)).spike
    assert torch.equal(output, expected) and len(seen) == 1 and seen[0] is output


@pytest.mark.parametrize("wrong", [None, [1.0], torch.rand(3, 5)])
def test_a_block_refuses_other_inputs(wrong):
    with pytest.raises(sp.SigpropError, match="inputs"):
        Block(nn.Linear(5, 4), sp.LIF())(wrong)
