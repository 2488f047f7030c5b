"""A snnTorch model becomes a network: the same weights, the same spikes, and it learns."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from functools import partial

import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import nn

import sigprop_snn as sp
from sigprop_snn.neurons import LIF, SnnTorch
from sigprop_snn.training import LocalOptimizers

STEPS, BATCH = 9, 6


def dense(**settings):
    """The form of the snnTorch tutorials: a network of two layers, both of which spike."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(8, 12),
        snn.Leaky(beta=0.9, init_hidden=True, **settings),
        nn.Linear(12, 3),
        snn.Leaky(beta=0.8, init_hidden=True, output=True, **settings),
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        snn.Leaky(beta=0.7, init_hidden=True),
        nn.Conv2d(4, 6, 3, padding=1),
        snn.Synaptic(alpha=0.8, beta=0.7, init_hidden=True),
        nn.AvgPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(6 * 2 * 2, 5),
    )


def nested():
    return nn.Sequential(
        OrderedDict(
            front=nn.Sequential(nn.Linear(8, 7, bias=False), snn.Alpha(0.9, 0.8, threshold=0.2)),
            middle=nn.Sequential(nn.Linear(7, 6), snn.Lapicque(beta=0.6, threshold=0.1)),
            back=nn.Sequential(nn.Linear(6, 3), snn.Leaky(beta=0.9, reset_mechanism="none")),
        )
    )


#: Models by name: the maker, the shape of a step, the shape given, and the number of blocks.
MODELS = {
    "dense": (dense, (8,), None, 2),
    "dense, to zero": (partial(dense, reset_mechanism="zero"), (8,), None, 2),
    "one decay a neuron": (lambda: dense_with_decays(), (8,), 8, 2),
    "convolutional": (convolutional, (1, 8, 8), (1, 8, 8), 2),
    "nested": (nested, (8,), None, 2),
}


def dense_with_decays():
    model = dense()
    model[2] = snn.Leaky(beta=torch.linspace(0.1, 0.9, 12), learn_beta=True, init_hidden=True)
    return model


def made(name, *, training=False):
    torch.manual_seed(0)
    make, shape, given, _ = MODELS[name]
    model = make().train(training)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(4.0)
    return model, sp.from_snntorch(model, given), 2.0 * torch.rand(STEPS, BATCH, *shape)


@torch.no_grad()
def run_by_snntorch(model, x):
    """Return the output of every neuron and of the last layer at every step, as snnTorch's."""
    model = copy.deepcopy(model)
    utils.reset(model)
    seen: dict[str, list[torch.Tensor]] = {}
    states: dict[str, tuple] = {}
    for now in x:
        for name, module in model.named_modules():
            if isinstance(module, nn.Sequential):
                continue
            if type(module).__module__.startswith("snntorch"):
                if module.init_hidden:
                    found = module(now)
                    now = found[0] if isinstance(found, tuple) else found
                else:
                    now, *states[name] = module(now, *states.get(name, ()))
                seen.setdefault("voltage " + name, []).append(module.mem)
                seen.setdefault(name, []).append(now)
            else:
                now = module(now)
        seen.setdefault("last", []).append(now)
    return {name: torch.stack(steps) for name, steps in seen.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_spike_is_that_of_snntorch(name):
    model, network, x = made(name)
    theirs = run_by_snntorch(model, x)
    spikes = [steps for key, steps in theirs.items() if not key.startswith(("voltage", "last"))]
    ours = network.record(x, ["spike"])
    assert len(ours) == MODELS[name][3]
    for block, expected in zip(ours.values(), spikes, strict=False):
        assert 0.02 < expected.mean() < 0.98
        torch.testing.assert_close(block["spike"], expected)


@pytest.mark.parametrize("name", ["dense", "dense, to zero", "one decay a neuron"])
def test_the_scores_of_a_layer_that_spikes_are_its_mean_spikes(name):
    model, network, x = made(name)
    torch.testing.assert_close(network(x), run_by_snntorch(model, x)["last"].mean(0))


def test_the_scores_of_a_linear_layer_are_its_mean_output():
    model, network, x = made("convolutional")
    torch.testing.assert_close(network(x), run_by_snntorch(model, x)["last"].mean(0))


def test_the_scores_of_a_leaky_without_reset_are_its_mean_voltages():
    model, network, x = made("nested")
    torch.testing.assert_close(network(x), run_by_snntorch(model, x)["voltage back.1"].mean(0))


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_and_the_model_stays_as_it_is(name):
    model, network, x = made(name, training=True)
    before, labels = copy.deepcopy(model.state_dict()), torch.arange(BATCH) % 3
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=0.01))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no fixed linear filter")
        losses = [
            [layer.loss for layer in network.learn(x, labels, optimizers).layers] for _ in range(30)
        ]
    for first, last in zip(losses[0], losses[-1], strict=True):
        assert last < first
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_leaky_that_resets_to_zero_or_never_is_a_lif():
    for reset, kind in (("zero", LIF), ("none", LIF), ("subtract", SnnTorch)):
        model = nn.Sequential(nn.Linear(4, 5), snn.Leaky(0.9, reset_mechanism=reset))
        network = sp.from_snntorch(nn.Sequential(*model, nn.Linear(5, 3)))
        assert type(network.blocks[0].neuron) is kind


def test_a_last_leaky_without_reset_is_a_readout_also_if_it_learns_its_beta():
    def model(beta):
        last = snn.Leaky(beta, reset_mechanism="none", learn_beta=True)
        return nn.Sequential(nn.Linear(8, 6), snn.Leaky(0.5), nn.Linear(6, 3), last)

    torch.manual_seed(0)
    taken, x = model(0.9), 8 * torch.rand(STEPS, BATCH, 8)
    network = sp.from_snntorch(taken)
    assert len(network.blocks) == 1
    torch.testing.assert_close(network(x), run_by_snntorch(taken, x)["voltage 3"].mean(0))
    assert len(sp.from_snntorch(model(torch.full((3,), 0.9))).blocks) == 1
    with pytest.raises(sp.SigpropError, match=r"last Leaky.*from 0\.1 to 0\.9"):
        sp.from_snntorch(model(torch.tensor([0.1, 0.5, 0.9])))


def test_a_model_in_the_middle_of_its_training_is_taken():
    model = dense()
    model[4](model[3](model[2](model[1](torch.rand(4, 8)))))
    assert model[2].mem.grad_fn is not None
    first, second = sp.from_snntorch(model), sp.from_snntorch(model)
    x = 3 * torch.rand(4, 2, 8)
    assert torch.equal(first(x), second(x))


def test_a_neuron_in_the_middle_of_its_training_is_copied_by_a_builder():
    neuron = snn.Leaky(beta=0.9)
    _, membrane = neuron(torch.rand(2, 5).requires_grad_())
    assert membrane.grad_fn is not None
    network = sp.mlp((8,), 3, hidden=(5, 5), neuron=neuron)
    assert network(torch.rand(4, 2, 8)).shape == (2, 3)


def test_a_frozen_layer_and_its_dtype_are_kept():
    model = dense().double()
    model[1].requires_grad_(False)
    network = sp.from_snntorch(model)
    assert not network.blocks[0].synapse[1].weight.requires_grad
    assert network.blocks[1].synapse.weight.requires_grad
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert network(torch.rand(3, 2, 8).double()).dtype == torch.float64


def test_batch_statistics_of_the_model_are_copied_and_not_changed():
    model, network, _ = made("convolutional", training=True)
    assert int(model[1].num_batches_tracked) == 0
    assert int(network.blocks[0].synapse[1].num_batches_tracked) == 0


REFUSED = {
    "no sequence": (lambda: dense()[1], None, "model is Linear.*nn.Sequential"),
    "a module": (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU()), None, r"module 1.*'1', ReLU"),
    "by its name": (
        lambda: nn.Sequential(OrderedDict(fc=nn.Linear(2, 3), cell=nn.LSTM(3, 3))),
        None,
        r"module 1.*'cell', LSTM",
    ),
    "inside": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh())),
        None,
        r"module 1.*'1\.0', Tanh",
    ),
    "a cell": (
        lambda: nn.Sequential(nn.Linear(2, 3), snn.SLSTM(3, 3, init_hidden=True)),
        None,
        r"module 1.*SLSTM.*Leaky",
    ),
    "without delay": (
        lambda: nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, reset_delay=False)),
        None,
        r"module 1.*reset_delay=False",
    ),
    "two neurons": (
        lambda: nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9), snn.Leaky(0.9)),
        None,
        r"module 2.*Leaky.*linear layer",
    ),
    "no neuron": (lambda: nn.Sequential(nn.Linear(2, 3)), None, "no neuron"),
    "nothing": (lambda: nn.Sequential(), None, "no neuron"),
    "two at the end": (
        lambda: nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9), nn.Linear(3, 3), nn.Linear(3, 3)),
        None,
        "ends with Linear, Linear",
    ),
    "no shape": (convolutional, None, "shape.*Conv2d"),
    "a wrong shape": (convolutional, (3, 8, 8), r"\[3, 8, 8\]"),
    "no shape at all": (dense, "x", "shape is 'x'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_come_is_refused_by_its_place(case):
    make, shape, words = REFUSED[case]
    with pytest.raises(sp.SigpropError, match=words):
        sp.from_snntorch(make(), shape)


def test_a_module_in_two_places_comes_twice_if_it_has_no_weights():
    leaky, pool = snn.Leaky(0.9), nn.MaxPool2d(2)
    found = sp.from_snntorch(nn.Sequential(nn.Linear(16, 20), leaky, nn.Linear(20, 4), leaky), 16)
    assert len(found.blocks) == 2
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), leaky, pool, nn.Conv2d(3, 4, 3, padding=1), leaky, pool
    )
    sent = sp.from_snntorch(model, (1, 8, 8)).record(torch.rand(2, 1, 1, 8, 8), ["spike"])
    assert [block["spike"].shape[2:] for block in sent.values()] == [(3, 8, 8), (4, 4, 4)]
    linear = nn.Linear(16, 16)
    with pytest.raises(sp.SigpropError, match=r"module 2.*two places and has weights"):
        sp.from_snntorch(nn.Sequential(linear, leaky, linear, snn.Leaky(0.5)), 16)
