"""Optimizers and schedules: by name and by layer."""

import copy
import math
from functools import partial

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Readout, conv, mlp
from sigprop_snn.training import (
    SCHEDULES,
    LocalOptimizers,
    LocalSchedules,
    optimizer_of,
)

BATCHES = 30
SGD = partial(torch.optim.SGD, lr=0.1)


def small_network():
    torch.manual_seed(0)
    return mlp((20,), 4, hidden=(12, 10))


def rates_of(name, batches=BATCHES, rate=0.5):
    """The learning rate at every batch of a run."""
    network = small_network()
    optimizers = LocalOptimizers(network, optimizer_of("sgd", rate))
    schedules = LocalSchedules(optimizers, SCHEDULES[name], batches)
    found = []
    for _ in range(batches):
        (at_once,) = {
            group["lr"]
            for optimizer in optimizers.by_layer.values()
            for group in optimizer.param_groups
        }
        found.append(at_once)
        for weights in network.parameters():
            weights.grad = torch.zeros_like(weights)
        for layer in optimizers.by_layer:
            optimizers.step(layer)
        schedules.step()
    return found


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("linear", lambda done: 1 - 0.98 * done),
        ("cosine", lambda done: 0.5 + 0.5 * math.cos(math.pi * done)),
        ("constant", lambda done: 1.0),
        ("step", lambda done: 0.1 ** math.floor(3 * done + 1e-9)),
        ("exponential", lambda done: 0.02**done),
    ],
)
def test_a_schedule_is_what_its_name_says(name, share):
    expected = [0.5 * share(batch / BATCHES) for batch in range(BATCHES)]
    assert rates_of(name) == pytest.approx(expected, abs=1e-9)


def test_one_cycle_rises_and_falls_to_nothing():
    rates = rates_of("one-cycle")
    top = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.5 / 25)
    assert max(rates) == pytest.approx(0.5, rel=0.02)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.01


def test_the_default_schedule_is_the_formula_to_the_last_bit():
    expected = [2e-3 * (1 - (1 - 0.02) * (batch / 97)) for batch in range(97)]
    assert rates_of("linear", 97, 2e-3) == expected


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_schedule_of_a_single_batch(name):
    assert all(0 < rate <= 0.5 for rate in rates_of(name, 1))


# Every optimizer once, every schedule at least once.
def test_a_layer_can_have_its_own_optimizer():
    inputs, labels = torch.rand(1, 16, 20).expand(5, 16, 20), torch.arange(16) % 4
    network = small_network()
    network.learn(inputs, labels)
    gradients = {name: value.grad.clone() for name, value in network.named_parameters()}
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizers = LocalOptimizers(
        network, SGD, {"block2": partial(torch.optim.SGD, lr=0.3), "readout": partial(SGD, lr=0.0)}
    )
    for layer in optimizers.by_layer:
        optimizers.step(layer)
    for name, value in network.named_parameters():
        rate = 0.3 if name.startswith("blocks.1") else 0.0 if name.startswith("readout") else 0.1
        torch.testing.assert_close(value.detach(), before[name] - rate * gradients[name])


def test_calling_the_optimizers_is_a_step():
    inputs, labels = torch.rand(1, 16, 20).expand(5, 16, 20), torch.arange(16) % 4
    weights = []
    for called in (True, False):
        network = small_network()
        optimizers = LocalOptimizers(network, SGD)
        network.learn(inputs, labels, optimizers if called else optimizers.step)
        weights.append(network.state_dict())
    fresh = small_network().state_dict()
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    assert any(not torch.equal(value, fresh[name]) for name, value in weights[0].items())


def test_weight_decay_is_torchs_own():
    network = small_network()
    make = optimizer_of("adamw", 0.1, 0.25)
    groups = [o.param_groups[0] for o in LocalOptimizers(network, make).by_layer.values()]
    assert [group["weight_decay"] for group in groups] == [0.25] * 3
    own = LocalOptimizers(network, optimizer_of("adamw", 0.1)).by_layer["block1"]
    assert own.param_groups[0]["weight_decay"] == torch.optim.AdamW([torch.ones(1)]).defaults[
        "weight_decay"
    ]  # fmt: skip


def test_state_from_a_gpu_gets_the_order_in_memory_of_the_weights_here():
    """A GPU keeps weights channels-last; fused Adam reads all in the order of memory."""
    networks, states = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        network = conv((2, 8, 8), 3, channels=(3, 4)).to(memory_format=layout)
        optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=0.01, fused=True))
        random = torch.Generator().manual_seed(0)
        for weights in network.parameters():
            weights.grad = torch.empty_like(weights).copy_(
                torch.randn(weights.shape, generator=random)
            )
        optimizers.step()
        networks.append((network, optimizers))
        states.append(optimizers.state_dict())
    (network, optimizers), _ = networks
    before = [weights.clone() for weights in network.parameters()]
    stepped = []
    for state in states:
        optimizers.load_state_dict(copy.deepcopy(state))
        random = torch.Generator().manual_seed(1)
        for weights, value in zip(network.parameters(), before, strict=True):
            with torch.no_grad():
                weights.copy_(value)
            weights.grad = torch.randn(weights.shape, generator=random)
        optimizers.step()
        stepped.append([weights.clone() for weights in network.parameters()])
    for one, other in zip(*stepped, strict=True):
        assert torch.equal(one, other)
    for parameter, state in optimizers.state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def test_an_optimizer_that_asks_for_the_loss_again_is_refused():
    with pytest.raises(SigpropError, match=r"block1 an LBFGS.*closure"):
        LocalOptimizers(small_network(), torch.optim.LBFGS)


def test_one_lbfgs_learns_by_a_closure():
    network, x, labels = small_network(), torch.rand(4, 8, 20), torch.arange(8) % 4
    optimizer = torch.optim.LBFGS(network.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        return sum(layer.loss for layer in network.learn(x, labels).layers)

    before = closure()
    optimizer.step(closure)
    assert closure() < before


def replace_synapse(network):
    network.blocks[0].synapse = torch.nn.Linear(20, 12)


def replace_readout(network):
    network.readout = Readout(10, 4)


def unfreeze_block(network):
    network.blocks[1].frozen = False


def unfreeze_bias(network):
    network.readout.synapse.bias.requires_grad_(True)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (replace_synapse, r"blocks\.0\.synapse\.weight"),
        (replace_readout, r"readout\.synapse\.weight"),
        (unfreeze_block, r"blocks\.1\.synapse\.weight"),
        (unfreeze_bias, r"readout\.synapse\.bias"),
    ],
)
@pytest.mark.parametrize("passes", [0, 2])
def test_parts_replaced_or_unfrozen_since_are_named(change, name, passes):
    network, x, labels = small_network(), torch.rand(4, 8, 20), torch.arange(8) % 4
    network.blocks[1].frozen = True
    network.readout.synapse.bias.requires_grad_(False)
    optimizers = LocalOptimizers(network, SGD)
    for _ in range(passes):
        network.learn(x, labels, optimizers)
    change(network)
    with pytest.raises(SigpropError, match=f"no optimizer has '{name}'.*a new LocalOptimizers"):
        network.learn(x, labels, optimizers)
    network.learn(x, labels, LocalOptimizers(network, SGD))


def test_a_parameter_that_a_person_adds_to_a_layer_learns():
    network, x, labels = small_network(), torch.rand(4, 8, 20), torch.arange(8) % 4
    optimizers = LocalOptimizers(network, SGD)
    replace_synapse(network)
    fresh = network.blocks[0].synapse.weight
    optimizers.by_layer["block1"].add_param_group(
        {"params": network.blocks[0].synapse.parameters()}
    )
    before = fresh.detach().clone()
    network.learn(x, labels, optimizers)
    assert not torch.equal(fresh, before)


@pytest.mark.parametrize(
    "when", ["step_pre", "step_post", "state_dict_pre", "load_state_dict_post"]
)
def test_hooks_belong_to_the_optimizer_of_a_layer(when):
    optimizers = LocalOptimizers(small_network(), SGD)
    with pytest.raises(SigpropError, match=r"by_layer\['block1'\]\.register_"):
        getattr(optimizers, f"register_{when}_hook")(print)
    getattr(optimizers.by_layer["block1"], f"register_{when}_hook")(print)
