"""Quantising after training, and training with quantised weights."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.deploy import Folded, fold
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point import (
    Decay,
    Format,
    IntegerNetwork,
    QuantisedOptimizers,
    integer_inputs,
    learner_of,
    levels_for,
    quantise,
    quantise_weights,
)


def trained(network, x, labels, bits=None):
    update = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=5e-3))
    if bits is not None:
        update = QuantisedOptimizers(update, network, bits=bits)
    for _ in range(8):
        network.learn(x, labels, update.step)
    return network.eval()


@pytest.fixture
def pictures():
    """Return brightness `[T, B, 1, 8, 8]` of three classes, and the labels."""
    torch.manual_seed(0)
    labels = torch.arange(30) % 3
    x = torch.rand(30, 1, 8, 8) * 0.3
    for row, label in enumerate(labels.tolist()):
        x[row, 0, 2 * label : 2 * label + 3] += 0.6
    x = (x * 255).round() / 255
    return x.expand(6, *x.shape), labels


def mlp():
    return sp.mlp((1, 8, 8), 3, hidden=(24, 20))


def conv():
    return sp.conv((1, 8, 8), 3, channels=(6, 8), kernel=3)


def test_more_bits_have_a_smaller_error_and_the_range_is_symmetric():
    weight = torch.randn(5, 40)
    errors = []
    for bits in range(2, 9):
        found = quantise_weights(weight, bits)
        assert int(found.integers.abs().max()) == (1 << (bits - 1)) - 1
        errors.append(float((found.integers * found.scale - weight).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4


def test_quantised_weights_are_quantised_to_themselves():
    found = quantise_weights(torch.randn(6, 30), 4)
    again = quantise_weights((found.integers * found.scale).float(), 4)
    assert torch.equal(found.integers, again.integers)


@pytest.mark.parametrize("build", [mlp, conv])
@pytest.mark.parametrize("format_", [Format(), Format(8, "channel", 24, 24, "multiplier")])
def test_eight_bits_spike_almost_as_the_folded_network(build, format_, pictures):
    x, labels = pictures
    torch.manual_seed(1)
    folded = fold(trained(build(), x, labels))
    integers = quantise(folded, format_, levels=255).run(integer_inputs(x, 255))
    recorded = folded.record(x)
    for found, name in zip(integers.spikes, folded.layers, strict=True):
        same = (found == recorded[name]["spike"]).float().mean()
        assert same > 0.97, name
    assert (integers.scores.argmax(1) == folded(x).argmax(1)).float().mean() > 0.95


def test_what_integers_cannot_compute_is_refused_by_name(pictures):
    alif = fold(sp.mlp((4,), 3, hidden=(5,), neuron="alif"))
    with pytest.raises(SigpropError, match=r"block1.*LIF or IF"):
        quantise(alif)
    skips = fold(sp.mlp((4,), 3, hidden=(5, 5, 5), sources=2))
    with pytest.raises(SigpropError, match="block3 receives block2, block1"):
        quantise(skips)
    channels = sp.mlp((4,), 3, hidden=(5,))
    with pytest.raises(SigpropError, match=r"block1.*Format\(per='tensor'\)"):
        learner_of(channels, Format())
    with pytest.raises(SigpropError, match="conv"):
        learner_of(conv())


@pytest.mark.parametrize(("beta", "kind"), [(0.9, "shifts"), (0.9, "multiplier"), (0.0, "shifts")])
def test_a_decay_is_near_beta(beta, kind):
    assert Decay.of(beta, kind).beta == pytest.approx(beta, abs=0.01)


def test_products_that_leave_32_bits_are_refused():
    with pytest.raises(SigpropError, match="trace_bits is 24"):
        Format(8, "tensor", 16, 24, "multiplier")
    network = quantise(fold(sp.mlp((4,), 3, hidden=(5,))))
    layer = replace(network.layers[0], decay=Decay(multiplier=100, bits=15), membrane_bits=24)
    with pytest.raises(SigpropError, match="block1 has 15 bits"):
        IntegerNetwork([layer], network.readout, levels=1, format=network.format, sample_shape=(4,))
    with pytest.raises(SigpropError, match="300 steps"):
        network(torch.ones(300, 1, 4, dtype=torch.int32))


def test_training_with_quantised_weights_applies_the_gradient_of_the_quantised_network(pictures):
    x, labels = pictures
    networks = [mlp(), mlp()]
    networks[1].load_state_dict(networks[0].state_dict())
    local, plain = (
        sp.LocalOptimizers(network, partial(torch.optim.SGD, lr=0.5)) for network in networks
    )
    start = [weight.clone() for weight in networks[0].block("block1").synapse.parameters()]
    quantised = QuantisedOptimizers(local, networks[0], bits=3)
    with torch.no_grad():
        for mine, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
            other.copy_(mine)
    networks[0].learn(x, labels, quantised.step)
    before = networks[1].block("block1").synapse[1].weight.clone()
    networks[1].learn(x, labels, plain.step)
    change = networks[1].block("block1").synapse[1].weight - before
    assert change.abs().max() > 0
    moved = quantised.floats["block1"][0] - start[0]
    assert torch.allclose(moved, change, atol=1e-6)
    weight = networks[0].block("block1").synapse[1].weight
    assert max(len(row.unique()) for row in weight) <= 7


def test_a_folded_network_without_the_shape_of_a_sample_is_refused():
    folded = fold(mlp())
    with pytest.raises(SigpropError, match="sample_shape is None"):
        quantise(Folded(dict(folded.named_layers()), folded.readout))


@pytest.mark.parametrize("given", [None, sp.LocalOptimizers])
def test_what_can_not_update_a_layer_is_no_optimizer(given):
    with pytest.raises(SigpropError, match="expected optimizers such as LocalOptimizers"):
        QuantisedOptimizers(given, mlp())


def test_a_network_trained_with_two_bits_keeps_its_integers_when_folded(pictures):
    x, labels = pictures
    network = trained(mlp(), x, labels, bits=2)
    integers = quantise(fold(network), Format(2))
    block = network.block("block2")
    signs = block.synapse.weight.sign() * block.norm.gain.sign()[:, None]
    assert torch.equal(integers.layers[1].weight, signs.to(torch.int32))


def test_inputs_become_integers_at_the_border():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 3)
    assert integer_inputs(x, 255).flatten().tolist() == [0, 128, 255]
    assert (levels_for(x), levels_for(x.round())) == (255, 1)
    with pytest.raises(SigpropError, match="below 0"):
        integer_inputs(-x, 255)


def test_a_dead_neuron_leaves_the_others_their_resolution():
    torch.manual_seed(0)
    network = sp.mlp((8,), 3, hidden=(6, 5)).eval()
    whole = quantise(fold(network)).layers[0]
    with torch.no_grad():
        network.block("block1").synapse[1].weight[2] = 0
    layer = quantise(fold(network)).layers[0]
    others = torch.arange(6) != 2
    assert layer.shift <= whole.shift + 5
    assert (layer.threshold[others] >= whole.threshold[others] // 32).all()
    assert (layer.threshold[others] >= 4).all()
