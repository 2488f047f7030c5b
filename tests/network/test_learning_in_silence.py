"""Learning never does nothing without a word."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import Block, Online, SurrogateRule, learn_in_parts, mlp
from sigprop_snn.neurons import LIF, Neuron, State
from sigprop_snn.rules import RULES
from sigprop_snn.training import LocalOptimizers

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def small(rule: str = "voltage", **settings):
    torch.manual_seed(0)
    choice = RULES[rule]
    options = {name: value for name, value in choice.options.items() if name != "hidden"}
    settings = {"neuron": choice.neuron or "lif", **options, **settings}
    return mlp((6,), 4, hidden=(9, 8), rule=rule, **settings)


def a_batch(seed: int = 1):
    drawn = torch.Generator().manual_seed(seed)
    return torch.rand(5, 8, 6, generator=drawn), torch.arange(8) % 4


def learned(network, mode, learn=None, batches: int = 2):
    """Return the parameters after batches learned in a mode of autograd, and one outside it."""
    learn = learn or (lambda x, labels, update: network.learn(x, labels, update))
    torch.manual_seed(3)  # some rules draw labels
    optimizers = LocalOptimizers(network, SGD)
    for seed in range(batches):
        with mode():
            learn(*a_batch(seed), optimizers)
    learn(*a_batch(batches), optimizers)  # what the optimizers keep is no tensor of that mode
    return {name: p.detach().clone() for name, p in network.named_parameters()}


MODES = pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])


@MODES
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_the_same_without_gradients_around(rule, mode):
    network = small(rule)
    before = copy.deepcopy(dict(network.named_parameters()))
    plain = learned(copy.deepcopy(network), torch.enable_grad)
    under = learned(network, mode)
    assert all(torch.equal(plain[name], under[name]) for name in plain)
    assert any(not torch.equal(before[name], under[name]) for name in before)


@MODES
def test_online_and_in_parts_learn_the_same_without_gradients_around(mode):
    for learn in (
        lambda network: Online(network).learn,
        lambda network: lambda x, y, update: learn_in_parts(network, x, y, update, 2),
    ):
        plain, under = small(), small()
        expected = learned(plain, torch.enable_grad, learn(plain))
        found = learned(under, mode, learn(under))
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_stages_with_labels_have_gradients_under_no_grad():
    with torch.no_grad():
        for stage in small().stages(*a_batch()):
            assert stage.loss.requires_grad
            assert not torch.is_grad_enabled()


@MODES
def test_an_update_runs_without_gradients_if_the_caller_turned_them_off(mode):
    seen, network = [], small()
    with mode():
        network.learn(*a_batch(), lambda layer: seen.append(torch.is_grad_enabled()))
    assert seen == [False] * 3
    small().learn(*a_batch(), lambda layer: seen.append(torch.is_grad_enabled()))
    assert seen[3:] == [True] * 3


def test_stages_with_labels_are_refused_in_inference_mode_by_name():
    network = small()
    with torch.inference_mode(), pytest.raises(SigpropError, match=r"labels.*inference_mode"):
        list(network.stages(*a_batch()))


@pytest.mark.parametrize("rule", RULES)
def test_a_network_that_predicted_in_inference_mode_learns_the_same(rule):
    network, twin = small(rule), small(rule)
    with torch.inference_mode():
        network(a_batch()[0])
        network.record(a_batch()[0], ["spike"])
    expected = learned(twin, torch.enable_grad)
    found = learned(network, torch.enable_grad)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_online_predicts_in_inference_mode_and_learns_after():
    online, twin = Online(small()), Online(small())
    x, labels = a_batch()
    with torch.inference_mode():
        online(x)
    twin(x)
    assert repr(online.learn(x, labels)) == repr(twin.learn(x, labels))


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_that_was_made_in_inference_mode_is_learned(rule):
    network, twin = small(rule), small(rule)
    with torch.inference_mode():
        x, labels = a_batch()
    torch.manual_seed(3)
    network.learn(x, labels)
    torch.manual_seed(3)
    twin.learn(*a_batch())
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)


def test_a_network_that_was_made_in_inference_mode_is_refused_by_its_parameter():
    with torch.inference_mode():
        network = small()
    with pytest.raises(SigpropError, match=r"'signal\.projection'.*inference_mode"):
        network.learn(*a_batch())


def test_one_buffer_that_was_made_in_inference_mode_is_refused_by_its_name():
    network = small()
    with torch.inference_mode():
        network.blocks[1].norm.mean_square = torch.ones(())
    with pytest.raises(SigpropError, match=r"'blocks\.1\.norm\.mean_square'.*inference_mode"):
        network.learn(*a_batch())


class Unused(nn.Module):
    """A synapse with a parameter that its output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 9))
        self.forgotten = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x @ self.weight.t()


class Detached(Neuron):
    """A neuron with a parameter that its voltage does not depend on by a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(0.9))

    def integrate(self, current, state):
        return State(self.leak.detach() * state.voltage + current)


def with_unused():
    network = small()
    network.blocks[1].synapse = Unused()
    return network


def with_detached():
    network = small()
    network.blocks[1].neuron = Detached()
    return network


UNREACHED = {
    "synapse": (with_unused, r"blocks\.1\.synapse\.forgotten"),
    "neuron": (with_detached, r"blocks\.1\.neuron\.leak"),
}


@pytest.mark.parametrize("with_update", [False, True])
@pytest.mark.parametrize("case", UNREACHED)
def test_a_parameter_without_a_gradient_is_named_once(case, with_update):
    make, name = UNREACHED[case]
    network = make()
    update = LocalOptimizers(network, SGD) if with_update else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*Detached")
        with pytest.warns(UserWarning, match=rf"VoltageRule .*{name}"):
            network.learn(*a_batch(), update)
        warnings.simplefilter("error")
        network.learn(*a_batch(), update)
        warnings.simplefilter("default")
        network.rule = SurrogateRule()
        with pytest.warns(UserWarning, match=rf"SurrogateRule .*{name}"):
            network.learn(*a_batch(), update)


def test_no_rule_warns_of_a_network_that_it_was_made_for():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*no gradient to")
        for rule in RULES:
            small(rule).learn(*a_batch())


def test_a_network_without_a_parameter_that_learns_says_so():
    network = small().requires_grad_(False)
    with pytest.warns(UserWarning, match="requires_grad=False"):
        network.learn(*a_batch())
    with pytest.raises(SigpropError, match="requires_grad=True"):
        LocalOptimizers(network, SGD)


def test_a_frozen_block_learns_in_silence_as_asked():
    network = small()
    network.blocks[0].requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.learn(*a_batch(), LocalOptimizers(network, SGD))


def test_an_optimizer_says_that_its_layer_has_no_gradient():
    network = small()
    optimizers = LocalOptimizers(network, SGD)
    with pytest.raises(SigpropError, match="block1 has no gradient"):
        optimizers.step("block1")
    network.learn(*a_batch())
    optimizers.step("block1")
    with pytest.raises(SigpropError, match="block1 has no gradient"):
        optimizers.step("block1")
    with pytest.raises(UnknownNameError, match=r"block3.*block1"):
        optimizers.step("block3")


@pytest.mark.parametrize("make", [None, torch.optim.SGD([torch.zeros(1)], lr=0.1), lambda p: None])
def test_a_maker_that_makes_no_optimizer_is_refused(make):
    with pytest.raises(SigpropError, match=r"block1.*lr=1e-3"):
        LocalOptimizers(small(), make)


def test_an_update_that_can_not_be_called_is_refused():
    network = small()
    with pytest.raises(SigpropError, match=r"SGD.*LocalOptimizers"):
        network.learn(*a_batch(), SGD(network.parameters()))
    with pytest.raises(SigpropError, match=r"0\.1.*LocalOptimizers"):
        network.learn(*a_batch(), 0.1)


def test_a_block_that_is_frozen_has_no_optimizer():
    network = small()
    frozen = Block(nn.Linear(9, 8), LIF(), frozen=True)
    network.blocks[1] = frozen
    assert set(LocalOptimizers(network, SGD).by_layer) == {"block1", "readout"}


def test_weights_that_are_not_finite_are_named_before_the_inputs():
    network = small()
    with torch.no_grad():
        network.blocks[1].synapse.weight[0, 0] = float("nan")
    with pytest.raises(SigpropError, match=r"'blocks\.1\.synapse\.weight'.*learning rate"):
        network.learn(*a_batch())


def test_half_weights_that_an_optimizer_broke_name_their_dtype():
    network = small().half()
    x, labels = a_batch()
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-3))
    with pytest.raises(SigpropError, match=r"'.*'.*torch\.autocast.*float16"):
        for _ in range(3):
            network.learn(x.half(), labels, optimizers)
