"""The builders of networks: their shapes, and the arguments that they accept and refuse."""

from __future__ import annotations

import functools

import pytest
import snntorch
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    NETWORKS,
    DotProductLoss,
    L2Loss,
    LabelOverlay,
    ProjectedContext,
    RunningScale,
    SignalPropagation,
    SurrogateRule,
    VoltageRule,
    conv,
    mlp,
    vgg8,
)
from sigprop_snn.neurons import LIF, CurrentLIF, SnnTorch
from sigprop_snn.rules import RULES, FeedbackAlignment, ForwardForward


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", ["voltage", "surrogate"])
def test_networks_by_name_learn_on_pictures(name, rule):
    torch.manual_seed(0)
    network = NETWORKS[name]((1, 8, 8), 5, rule=RULES[rule].make)
    x, labels = torch.rand(4, 6, 1, 8, 8), torch.arange(6) % 5
    learned = network.learn(x, labels)
    assert learned.scores.shape == (6, 5)
    assert all(p.grad is not None for p in network.parameters())
    assert network.eval()(x).shape == (6, 5)


def test_the_shapes_of_networks_by_name():
    torch.manual_seed(0)
    network = conv((3, 16, 16), 7, channels=(4, 6, 8, 5))
    stages = network.stages(torch.rand(2, 3, 3, 16, 16))
    responses = [stage.response for stage in stages if stage.response is not None]
    assert [tuple(response.run.spike.shape[2:]) for response in responses] == [
        (4, 16, 16),
        (6, 8, 8),
        (8, 4, 4),
        (5, 4, 4),
    ]
    assert network.readout.synapse.in_features == 4 * 8 * 8 + (6 + 8 + 5) * 4 * 4
    flat = mlp((3, 4), 5, hidden=(9, 6), gain=3.0)
    assert [b.norm.gain.unique().item() for b in flat.blocks] == [3.0, 3.0]
    assert isinstance(flat.blocks[0].norm, RunningScale)
    assert flat(torch.rand(2, 3, 3, 4)).shape == (3, 5)


@pytest.mark.filterwarnings("ignore:SnnTorch has no fixed linear filter")
@pytest.mark.parametrize(
    ("neuron", "kind"),
    [
        ("cuba", CurrentLIF),
        (LIF(0.7), LIF),
        (functools.partial(LIF, 0.7), LIF),
        (snntorch.Leaky(beta=0.7), SnnTorch),
        (lambda: snntorch.Leaky(beta=0.7), SnnTorch),
    ],
    ids=["name", "instance", "maker", "snnTorch", "maker of snnTorch"],
)
def test_every_block_gets_a_neuron_of_its_own(neuron, kind):
    network = mlp((6,), 3, hidden=(5, 4), neuron=neuron)
    first, second = (block.neuron for block in network.each_block())
    assert type(first) is kind and type(second) is kind
    assert first is not second and first is not neuron
    network.learn(torch.rand(3, 6, 6), torch.arange(6) % 3)


@pytest.mark.parametrize(
    "rule", ["surrogate", SurrogateRule, SurrogateRule(), RULES["surrogate"].make]
)
def test_a_rule_is_a_name_a_class_an_instance_or_a_maker(rule):
    assert mlp((6,), 3, hidden=5, rule=rule).rule == SignalPropagation(SurrogateRule())


def test_a_rule_that_needs_the_layout_is_given_it():
    assert isinstance(mlp((6,), 3, hidden=5, rule=FeedbackAlignment).rule, FeedbackAlignment)


def test_a_rule_by_name_brings_its_signal_loss_and_prediction_unless_they_are_given():
    network = mlp((6,), 3, hidden=5, neuron="rate", rule="forward-forward")
    assert isinstance(network.rule, ForwardForward)
    assert isinstance(network.signal, LabelOverlay)
    assert network.predict == "vote"
    network = mlp((6,), 3, hidden=5, rule="voltage", loss="l2", signal="context", predict="context")
    assert network.rule == SignalPropagation(VoltageRule())
    assert network.loss == L2Loss()
    assert network.predict == "context"


@pytest.mark.parametrize("loss", ["l2", L2Loss, L2Loss()], ids=["name", "class", "instance"])
def test_a_loss_is_a_name_a_class_or_an_instance(loss):
    assert mlp((6,), 3, hidden=5, loss=loss).loss == L2Loss()


def test_a_signal_is_a_name_an_instance_or_a_maker():
    own = ProjectedContext(3, (5,))
    assert mlp((6,), 3, hidden=5, signal=own).signal is own
    assert isinstance(mlp((6,), 3, hidden=5, signal="label-overlay").signal, LabelOverlay)
    assert mlp((6,), 3, hidden=5, signal=lambda layout: own).signal is own


def test_one_number_is_one_layer_or_one_axis():
    network = mlp(20, 3, hidden=400)
    assert [block.synapse[-1].out_features for block in network.each_block()] == [400]
    assert len(conv((1, 8, 8), 3, channels=4).blocks) == 1


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"neuron": 3}, "neuron is 3"),
        ({"neuron": torch.nn.ReLU()}, r"neuron is ReLU\(\)"),
        ({"neuron": "lyf"}, "neuron 'lyf'.*'lif'"),
        ({"rule": "voltages"}, "rule 'voltages'.*'voltage'"),
        ({"rule": 3}, "rule is 3"),
        ({"rule": DotProductLoss()}, "rule is DotProductLoss"),
        ({"loss": "l3"}, "loss 'l3'"),
        ({"loss": 3}, "loss is 3"),
        ({"signal": "contexts"}, "signal 'contexts'"),
        ({"signal": 3}, "signal is 3"),
        ({"predict": "guess"}, "predict 'guess'"),
    ],
)
def test_parts_that_can_not_be_used_are_refused_by_name(build, settings, found):
    with pytest.raises(SigpropError, match=found):
        build((1, 8, 8), 3, **settings)


@pytest.mark.parametrize("wrong", [(), (-5,), (0,), (2.5,), True, "400", None], ids=str)
def test_sizes_that_can_not_be_used_are_refused_by_name(wrong):
    for build, name in ((mlp, "hidden"), (conv, "channels")):
        with pytest.raises(SigpropError, match=f"{name} is .*expected positive whole numbers"):
            build((1, 8, 8), 3, **{name: wrong})
    for build in (mlp, conv, vgg8):
        with pytest.raises(SigpropError, match=r"shape is .*expected positive whole numbers"):
            build(wrong, 3)


@pytest.mark.parametrize("kernel", [4, 0, -1, 3.0])
def test_a_kernel_that_changes_the_size_of_maps_is_refused(kernel):
    with pytest.raises(SigpropError, match=f"kernel is {kernel}; expected an? (odd|whole) number"):
        conv((1, 9, 9), 3, kernel=kernel)
