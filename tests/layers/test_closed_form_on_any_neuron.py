"""Rules on neurons beyond LIF, against autograd through the layer unrolled in float64.

The oracle steps the model itself, with its spikes cut out of the graph, and applies the synapse to
every step; the rules take the closed form, the filter or their own unrolling, as fits the model.
"""

import warnings

import pytest
import torch
from torch import nn

from sigprop_snn.layers import gradient_paths
from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    ProjectedContext,
    RunningScale,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import (
    LIF,
    NEURONS,
    Recurrent,
    State,
    make_neuron,
)

RULES = (VoltageRule(), VoltageRule("sigmoid"), SurrogateRule())
QUIET = ("leaky-integrator",)
RANDOM = ("lif-noise", "lif-escape")  # two runs of them differ, so there is nothing to compare
MODELS = sorted(set(NEURONS) - set(RANDOM) - set(QUIET))
CLASSES, FEATURES, STEPS, BATCH = 3, 6, 9, 4

pytestmark = pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")


def layer(neuron, rule) -> Network:
    torch.manual_seed(0)
    block = Block(nn.Linear(5, FEATURES), neuron, norm=RunningScale(FEATURES, gain=1.5))
    signal = ProjectedContext(CLASSES, (FEATURES,), gain=1.5)
    return Network(signal, [block], rule=rule, loss=DotProductLoss(scale=3.0)).double()


def unrolled_loss(network: Network, inputs, labels):
    """The local loss, from the model's own steps with held spikes."""
    block = network.blocks[0]
    neuron = block.neuron
    context = network.signal()
    state, voltages = None, []
    for x in inputs:
        current = torch.cat([block.norm(block.synapse(x)), context])
        state = neuron.initial_state(current) if state is None else state
        step = neuron.step(current, state, detach_spikes=True)
        state = step.state
        voltages.append(step.voltage)
    voltage = torch.stack(voltages)
    rule = network.rule.layer_rule
    if isinstance(rule, SurrogateRule):
        seen = neuron.surrogate.f(neuron.above(voltage)).mean(0)
    elif rule.statistic == "sigmoid":
        seen = neuron.surrogate.f(neuron.above(voltage.mean(0)))
    else:
        seen = neuron.depolarisation(voltage.mean(0)).clamp(min=0)
    scores = network.loss.scores(seen[: len(labels)], seen[len(labels) :])
    return network.loss.loss(scores, labels)


@pytest.mark.filterwarnings("ignore:.*gives no gradient to .*log_threshold")
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_its_own_unrolled_gradient(model, rule):
    network = layer(make_neuron(NEURONS[model], (FEATURES,)), rule).eval()
    inputs = torch.rand(STEPS, BATCH, 5, dtype=torch.float64)
    labels = torch.arange(BATCH) % CLASSES
    network.learn(inputs, labels)
    learned = {name: w.grad for name, w in network.named_parameters() if w.grad is not None}
    network.zero_grad()
    unrolled_loss(network, inputs, labels).backward()
    expected = {name: w.grad for name, w in network.named_parameters() if w.grad is not None}
    assert "blocks.0.synapse.weight" in learned
    for name, gradient in expected.items():
        found = learned.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(found, gradient, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_recurrent_weights_learn_from_the_layers_own_spikes(rule):
    network = layer(make_neuron(NEURONS["recurrent-lif"], (FEATURES,)), rule)
    neuron = network.blocks[0].neuron
    assert isinstance(neuron, Recurrent)
    assert neuron.closed_form
    inputs = torch.rand(STEPS, BATCH, 5, dtype=torch.float64)
    network.learn(inputs, torch.arange(BATCH) % CLASSES)
    assert float(neuron.recurrence.weight.grad.abs().sum()) > 0


class Squaring(LIF):
    """A model that is not linear, and says so."""

    linear = False

    def integrate(self, current, state):
        """Square what is left."""
        return State(self.beta * state.voltage.square() + current)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_model_of_ones_own_learns_and_the_fallback_is_said_once(rule):
    gradient_paths._warn_unrolled.cache_clear()
    network = layer(Squaring(0.5), rule)
    inputs = torch.rand(STEPS, BATCH, 5, dtype=torch.float64)
    labels = torch.arange(BATCH) % CLASSES
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.learn(inputs, labels)
        network.learn(inputs, labels)
    assert [str(w.message).split(" ")[0] for w in caught] == ["Squaring"]


def test_learned_decay_and_threshold_get_a_gradient():
    network = layer(make_neuron(NEURONS["plif-per-neuron"], (FEATURES,)), SurrogateRule())
    inputs = torch.rand(STEPS, BATCH, 5, dtype=torch.float64)
    network.learn(inputs, torch.arange(BATCH) % CLASSES)
    gradients = [w.grad for w in network.blocks[0].neuron.parameters()]
    assert gradients
    assert all(g is not None and float(g.abs().sum()) > 0 for g in gradients)
