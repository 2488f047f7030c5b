"""Forward-Forward's update by formula, what it draws on, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    Goodness,
    LabelOverlay,
    LengthNorm,
    Network,
    Readout,
    SurrogateRule,
    VoltageRule,
    mlp,
)
from sigprop_snn.neurons import LIF, Rate
from sigprop_snn.rules import RULES
from sigprop_snn.rules.forward_forward import ForwardForward
from sigprop_snn.training import LocalOptimizers, TrainConfig, build_network, evaluate

CLASSES, ROWS = 3, 5


def small(rule=None, *, neuron=Rate, loss=None, seed: int = 0) -> Network:
    """Make `[T, B, 6]` -> 7 -> 4 -> 3 classes, in float64, without normalisers."""
    torch.manual_seed(seed)
    blocks = [Block(nn.Linear(6, 7), neuron()), Block(nn.Linear(7, 4), neuron())]
    return Network(
        LabelOverlay(CLASSES, (6,), strength=2.0),
        blocks,
        Readout(4, CLASSES),
        rule=rule or ForwardForward(),
        loss=loss or Goodness("wrong", sharpness=3.0),
        predict="vote",
    ).double()


def batch(steps: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(3)
    x = torch.rand(steps, ROWS, 6, dtype=torch.float64, generator=made)
    return x, torch.tensor([0, 2, 1, 1, 0])


def drawn_over(x: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """The samples `[B, 6]` with their first three inputs set to 2 at the label and 0 elsewhere."""
    out = x.clone()
    for row, label in enumerate(labels):
        for column in range(CLASSES):
            out[row, column] = 2.0 if column == label else 0.0
    return out


@pytest.mark.parametrize("against", ["wrong", "threshold"])
def test_the_update_of_rate_layers_by_formula(monkeypatch, against):
    """dW = the sum over rows of dL/dG * sharpness * 2 a / n * x, worked out layer by layer."""
    wrong = [1, 0, 2, 0, 1]
    monkeypatch.setattr(
        "sigprop_snn.signals.label_overlay.wrong_labels", lambda *_: torch.tensor(wrong)
    )
    sharp, theta = 3.0, 0.2
    network = small(loss=Goodness(against, threshold=theta, sharpness=sharp))
    x, labels = batch()
    weights = [(b.synapse.weight.detach().clone(), b.synapse.bias.detach()) for b in network.blocks]
    network.learn(x, labels)

    right_in, wrong_in = drawn_over(x[0], labels.tolist()), drawn_over(x[0], wrong)
    for (w, b), block in zip(weights, network.blocks, strict=True):
        size = len(b)
        right, wrong_ = (right_in @ w.t() + b).clamp(min=0), (wrong_in @ w.t() + b).clamp(min=0)
        by_weight, by_bias = torch.zeros_like(w), torch.zeros_like(b)
        for row in range(ROWS):
            good = sharp * float(right[row] @ right[row]) / size
            bad = sharp * float(wrong_[row] @ wrong_[row]) / size
            if against == "wrong":
                up = down = 1 / (1 + math.exp(good - bad))
            else:
                up = 0.5 / (1 + math.exp(good - sharp * theta))
                down = 0.5 / (1 + math.exp(sharp * theta - bad))
            for pull, a, entering in (
                (-up, right[row], right_in[row]),
                (down, wrong_[row], wrong_in[row]),
            ):
                change = pull / ROWS * sharp * 2 * a / size  # already zero where a is
                by_weight += torch.outer(change, entering)
                by_bias += change
        torch.testing.assert_close(block.synapse.weight.grad, by_weight)
        torch.testing.assert_close(block.synapse.bias.grad, by_bias)
        assert by_weight.abs().max() > 1e-3
        right_in, wrong_in = right, wrong_


def test_the_update_of_a_spiking_layer_is_that_of_its_unrolled_graph(monkeypatch):
    """The goodness of the mean of f(U - 1) over the steps, with resets held constant."""
    wrong = [1, 0, 2, 0, 1]
    monkeypatch.setattr(
        "sigprop_snn.signals.label_overlay.wrong_labels", lambda *_: torch.tensor(wrong)
    )
    network = small(neuron=lambda: LIF(0.8))
    x, labels = batch(steps=4)
    network.learn(2 * x, labels)
    block = network.blocks[0]
    w = block.synapse.weight.detach().clone().requires_grad_()
    b = block.synapse.bias.detach().clone().requires_grad_()
    active = []
    for names in (labels.tolist(), wrong):
        u, total = torch.zeros(ROWS, 7, dtype=torch.float64), 0.0
        for step in 2 * x:
            u = 0.8 * u + drawn_over(step, names) @ w.t() + b
            total = total + block.neuron.surrogate.f(u - 1.0)
            u = u - (u > 1.0).double().detach()
        active.append(total / 4)
    good, bad = (3.0 * (a * a).sum(1) / 7 for a in active)
    torch.log1p(torch.exp(bad - good)).mean().backward()
    torch.testing.assert_close(block.synapse.weight.grad, w.grad)
    torch.testing.assert_close(block.synapse.bias.grad, b.grad)


def test_the_readout_learns_from_the_neutral_pass_before_any_layer_changed():
    network = small()
    x, labels = batch()
    neutral = x[0].clone()
    neutral[:, :3] = 2.0 / 3
    for block in network.blocks:
        neutral = (neutral @ block.synapse.weight.t() + block.synapse.bias).clamp(min=0).detach()
    logits = (neutral @ network.readout.synapse.weight.t() + network.readout.synapse.bias).detach()
    error = (logits.softmax(1) - nn.functional.one_hot(labels, CLASSES)) / ROWS
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=1.0))
    before = network.readout.synapse.weight.detach().clone()
    network.learn(x, labels, optimizers.step)
    torch.testing.assert_close(before - network.readout.synapse.weight, error.t() @ neutral)


def test_wrong_labels_follow_the_networks_beliefs_or_not(monkeypatch):
    seen = []

    def spy(labels, classes, beliefs=None):
        seen.append(beliefs)
        return (labels + 1) % classes

    monkeypatch.setattr("sigprop_snn.signals.label_overlay.wrong_labels", spy)
    x, labels = batch()
    network = small()
    network.predict = "readout"
    expected = network(x).softmax(1)
    network.learn(x, labels)
    torch.testing.assert_close(seen[0], expected)
    small(ForwardForward(hard=False)).learn(x, labels)
    assert seen[1] is None


def test_the_vote_is_the_sum_of_goodness_and_of_the_readouts_log_probabilities():
    network = small()
    x, _ = batch()
    scores = []
    for label in range(CLASSES):
        a, total = drawn_over(x[0], [label] * ROWS), 0.0
        for block in network.blocks:
            a = (a @ block.synapse.weight.t() + block.synapse.bias).clamp(min=0)
            total = total + 3.0 * a.square().mean(1)
        scores.append(total)
    goodness = torch.stack(scores, dim=1)
    network.predict = "readout"
    by_hand = goodness.softmax(1) * network(x).softmax(1)
    network.predict = "vote"
    voted = network(x).softmax(1)
    torch.testing.assert_close(voted, by_hand / by_hand.sum(1, keepdim=True))


def test_a_report_tells_pairs_from_guesses():
    network = small()
    x, labels = batch()
    learned = network.learn(x, labels)
    assert [layer.name for layer in learned.layers] == ["block1", "block2", "readout"]
    assert learned.scores.shape == (ROWS, CLASSES)
    network.predict = "readout"
    assert learned.correct == int((network(x).argmax(1) == labels).sum())


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()])
@pytest.mark.parametrize("predict", ["readout", "context", "vote"])
def test_overlay_and_goodness_serve_other_rules(rule, predict):
    torch.manual_seed(0)
    network = mlp(
        (1, 3, 3),
        2,  # as many classes as contexts: columns that mean different things
        hidden=(6, 5),
        rule=rule,
        loss=Goodness(),
        signal=lambda layout: LabelOverlay(2, (1, 3, 3)),
        predict=predict,
    )
    x, labels = torch.rand(3, 4, 1, 3, 3), torch.tensor([1, 1, 0, 1])
    learned = network.learn(x, labels)
    assert all(p.grad is not None for p in network.parameters())
    by_name = {layer.name: layer for layer in learned.layers}
    speaks = "block2" if predict == "context" else "readout"
    assert learned.correct == by_name[speaks].correct


def test_goodness_needs_an_overlay():
    with pytest.raises(SigpropError, match="label-overlay"):
        mlp((6,), 3, loss=Goodness(), rule=ForwardForward()).learn(
            torch.rand(1, 4, 6), torch.arange(4) % 3
        )


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_by_name_it_works_on_another_network_than_its_own(network):
    config = TrainConfig("digits", rule="forward-forward", network=network).resolved()
    built = build_network(config, (1, 8, 8), 10)
    assert any(isinstance(m, LengthNorm) for m in built.modules()) == (network == "mlp")
    learned = built.learn(torch.rand(1, 4, 1, 8, 8), torch.tensor([1, 5, 0, 9]))
    assert all(torch.isfinite(torch.tensor(layer.loss)) for layer in learned.layers)


@pytest.mark.parametrize("name", ["forward-forward", "spiking-forward-forward"])
def test_it_learns_digits(name):
    torch.manual_seed(0)
    choice = RULES[name]
    steps = choice.recipe["steps"]
    data = load("digits", steps=steps, batch_size=32, train_samples=600)
    network = mlp(
        data.shape,
        10,
        hidden=(150, 150),
        neuron={"rate": Rate, "lif": LIF}[choice.neuron],
        rule=choice.make,
        loss=Goodness(),
        signal=lambda layout: LabelOverlay(10, layout.inputs[0]),
        predict="vote",
        **choice.options,
    )
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=3e-3))
    for _ in range(8):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
    judged = evaluate(network, data.test)
    assert judged.accuracy > 0.85
    assert all(layer.accuracy > 0.75 for layer in judged.layers)
