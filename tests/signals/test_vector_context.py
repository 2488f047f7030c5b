"""Targets that are vectors: values and labels, their contexts by formula, and that they teach."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

from sigprop_snn.analysis import update_angles
from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    ContrastiveLoss,
    DotProductLoss,
    MultiLabelContext,
    Network,
    ProjectedContext,
    Readout,
    SurrogateRule,
    VectorContext,
    mlp,
    multi_label_context,
    vector_context,
)
from sigprop_snn.neurons import LIF
from sigprop_snn.training import (
    LocalOptimizers,
    evaluate,
    multi_label_accuracy,
    regression_error,
)


def test_a_vectors_context_is_its_projected_population_code():
    torch.manual_seed(0)
    signal = VectorContext(2, (3, 4), cells=5, gain=1.5, width=0.7).double()
    targets = torch.randn(6, 2, dtype=torch.float64)
    got = signal(targets)
    assert got.shape == (6, 3, 4)
    for row, target in zip(got, targets, strict=True):
        code = [math.cos(float(target @ w) + float(p)) for w, p in zip(
            signal.frequency.t(), signal.phase, strict=True)]  # fmt: skip
        projected = sum(c * weights for c, weights in zip(code, signal.projection, strict=True))
        projected = projected - projected.mean()
        by_hand = 1.5 * projected / projected.square().mean().sqrt()
        torch.testing.assert_close(row.flatten(), by_hand, rtol=1e-6, atol=1e-8)


def test_the_code_falls_off_as_the_shares_do():
    torch.manual_seed(0)
    signal = VectorContext(1, (2,), cells=40_000, width=0.7).double()
    apart = torch.linspace(0, 2, 9, dtype=torch.float64)[:, None]
    code = torch.cos(apart @ signal.frequency + signal.phase)
    falls = 2 * (code[:1] * code).mean(1)
    torch.testing.assert_close(
        falls, torch.exp(-(apart.squeeze(1) ** 2) / (2 * 0.7**2)), rtol=0, atol=0.02
    )


def test_every_samples_target_is_a_context_and_shares_follow_their_distance():
    signal = VectorContext(2, (7,), width=0.5).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    targets = torch.randn(5, 2, dtype=torch.float64)
    entry = signal.enter(x, targets)
    assert entry.contexts_per_sample == 0 and entry.contexts.shape == (5, 7)
    assert torch.equal(entry.answers, targets)
    for a in range(5):
        near = [
            math.exp(-sum(float(d) ** 2 for d in targets[a] - targets[b]) / (2 * 0.5**2))
            for b in range(5)
        ]
        by_hand = [value / sum(near) for value in near]
        assert entry.targets[a].tolist() == pytest.approx(by_hand)
    nothing = signal.enter(x, None)
    assert nothing.contexts is None and nothing.targets is None and nothing.answers is None


def small(signal, answers, **settings) -> Network:
    torch.manual_seed(0)
    blocks = [Block(nn.Linear(6, 7), LIF(0.8)), Block(nn.Linear(7, 8), LIF(0.8))]
    readout = Readout(8, signal.classes, answers=answers)
    return Network(signal, blocks, readout, **settings).double()


def test_readout_learns_values_by_squared_error_and_labels_by_binary_cross_entropy():
    scores = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    values = torch.tensor([[0.0, -1.0], [0.5, 2.0]])
    by_hand = (1 + 1 + 0 + 4) / 4
    assert float(Readout(3, 2, answers="values").loss(scores, values)) == pytest.approx(by_hand)
    held = torch.tensor([[1, 0], [0, 1]])
    by_hand = (
        math.log(1 + math.exp(-1.0)) + math.log(1 + math.exp(-2.0))
        + math.log(1 + math.exp(0.5)) + math.log(2)
    ) / 4  # fmt: skip
    assert float(Readout(3, 2, answers="labels").loss(scores, held)) == pytest.approx(by_hand)


def test_a_single_value_can_be_learned_and_no_block_guesses_it():
    net = small(VectorContext(1, (7,)), "values")
    x, y = torch.randn(3, 5, 6, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
    learned = net.learn(x, y)
    assert learned.scores.shape == (5, 1)
    assert all(p.grad is not None for p in net.parameters())
    assert [stage.scores is None for stage in net.stages(x)] == [True, True, False]
    assert net(x).shape == (5, 1)


def batches(x, y, size, epoch=None, steps=4):
    order = torch.arange(len(x))
    if epoch is not None:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
    for index in order.split(size):
        yield x[index].expand(steps, *x[index].shape), y[index]


def regression_task(count: int, seed: int):
    """Two curved functions of two numbers that lie mixed and noisy in twenty."""
    made = torch.Generator().manual_seed(seed)
    mixture = torch.randn(2, 20, generator=torch.Generator().manual_seed(9))
    z = 2 * torch.rand(count, 2, generator=made) - 1
    x = z @ mixture + 0.3 * torch.randn(count, 20, generator=made)
    return x, torch.stack([torch.sin(3 * z[:, 0]) * z[:, 1], z[:, 0].square() - 1 / 3], dim=1)


@pytest.mark.parametrize("loss", [DotProductLoss(), ContrastiveLoss()])
def test_regression_learns_what_neither_a_line_nor_a_readout_of_frozen_blocks_finds(loss):
    x, y = regression_task(500, 0)
    unseen = regression_task(200, 1)
    lines = torch.linalg.lstsq(nn.functional.pad(x, (0, 1), value=1.0), y).solution
    linear = (nn.functional.pad(unseen[0], (0, 1), value=1.0) @ lines - unseen[1]).square().mean()

    def error_after(*, blocks_learn: bool) -> float:
        torch.manual_seed(0)
        net = mlp((20,), 2, hidden=(48, 48), rule=SurrogateRule(), loss=loss, signal=vector_context)
        optimizers = LocalOptimizers(net, lambda weights: torch.optim.Adam(weights, lr=5e-3))

        def update(name: str) -> None:
            if blocks_learn or name == "readout":
                optimizers.step(name)

        for epoch in range(8):
            for inputs, targets in batches(x, y, 50, epoch):
                net.learn(inputs, targets, update)
        return regression_error(net, batches(*unseen, 100))

    learned = error_after(blocks_learn=True)
    assert learned < 0.85 * error_after(blocks_learn=False)
    assert learned < 0.65 * float(linear.sqrt())


def attributes(digits: torch.Tensor) -> torch.Tensor:
    """Odd, and at least five."""
    return torch.stack([digits % 2, (digits >= 5).long()], dim=1)


def test_two_attributes_of_digits_are_learned_in_every_layer():
    data = load("digits", steps=4, batch_size=50)
    torch.manual_seed(0)
    net = mlp(data.shape, 2, hidden=(80, 80), signal=multi_label_context)
    optimizers = LocalOptimizers(net, lambda weights: torch.optim.Adam(weights, lr=3e-3))
    for _ in range(3):
        for inputs, digits in data.train:
            net.learn(inputs, attributes(digits), optimizers.step)
    unseen = [(inputs, attributes(digits)) for inputs, digits in data.test]
    assert multi_label_accuracy(net, unseen) > 0.9
    net.predict = "context"
    assert multi_label_accuracy(net, unseen) > 0.9
    first = [next(iter(net.eval().stages(inputs))).scores > 0 for inputs, _ in unseen]
    held = torch.cat([labels for _, labels in unseen])
    assert float((torch.cat(first) == held).double().mean()) > 0.85


def test_numbers_by_hand():
    class Given(Network):
        def forward(self, inputs):
            return inputs.mean(0)[:, :2]

    signal = VectorContext(2, (7,))
    blocks = [Block(nn.Linear(6, 7), LIF())]
    net = Given(signal, blocks, Readout(7, 2, answers="values"))
    x = torch.tensor([[[1.0, 2, 0, 0, 0, 0], [0.0, -1, 0, 0, 0, 0], [3.0, 3, 0, 0, 0, 0]]])
    y = torch.tensor([[0.0, 2.0], [2.0, -1.0], [3.0, 0.0]])
    both = [(x[:, :2], y[:2]), (x[:, 2:], y[2:])]
    assert regression_error(net, both) == pytest.approx(math.sqrt((1 + 4 + 9) / 6))
    assert net.training

    blocks = [Block(nn.Linear(6, 7), LIF())]
    net = Given(MultiLabelContext(2, (7,)), blocks, Readout(7, 2, answers="labels")).eval()
    held = torch.tensor([[1, 0], [0, 0], [0, 1]])  # said: both, none, both
    assert multi_label_accuracy(net, [(x, held)]) == pytest.approx(4 / 6)
    assert not net.training
    with pytest.raises(SigpropError, match="batches"):
        multi_label_accuracy(net, [])


def test_numbers_are_refused_where_they_say_nothing():
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    net = small(VectorContext(2, (7,)), "values")
    with pytest.raises(SigpropError, match=r"values.*labels"):
        multi_label_accuracy(net, [(x, torch.zeros(5, 2))])
    with pytest.raises(SigpropError, match=r"values.*regression_error"):
        evaluate(net, [(x, torch.zeros(5, 2))])
    with pytest.raises(SigpropError, match=r"classes.*values"):
        regression_error(small(ProjectedContext(4, (7,)), "classes"), [])


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (torch.zeros(5), r"shape \[5\].*expected \[5, 2\]"),
        (torch.zeros(5, 3), r"expected \[5, 2\]"),
        (torch.full((5, 2), float("nan")), "not all finite"),
        (torch.zeros(5, 2, dtype=torch.long), "int64; expected floating"),
    ],
)
def test_targets_that_are_no_vectors_of_values_are_refused(targets, found):
    net = small(VectorContext(2, (7,)), "values")
    with pytest.raises(SigpropError, match=found):
        net.learn(torch.randn(3, 5, 6, dtype=torch.float64), targets)


@pytest.mark.parametrize("wrong", [2.0, -0.5])
def test_labels_neither_held_nor_not_are_refused(wrong):
    net = small(MultiLabelContext(2, (7,)), "labels")
    with pytest.raises(SigpropError, match=str(wrong)):
        net.learn(torch.randn(3, 5, 6, dtype=torch.float64), torch.full((5, 2), wrong))


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_labels_of_any_dtype_teach_the_same(dtype):
    x = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    held = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1], [1, 1]])
    losses = []
    for targets in (held.double(), held.to(dtype)):
        torch.manual_seed(0)
        net = small(MultiLabelContext(2, (7,)), "labels")
        losses.append([layer.loss for layer in net.learn(x, targets).layers])
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize(
    ("signal", "answers", "settings", "found"),
    [
        (MultiLabelContext(2, (7,)), "labels", {"loss": DotProductLoss()}, "DotProductLoss.*can't"),
        (VectorContext(2, (7,)), "classes", {}, "learns classes but .* are values"),
        (VectorContext(2, (7,)), "values", {"predict": "vote"}, "predict='readout'"),
        (VectorContext(2, (7,)), "values", {"predict": "context"}, "predict='readout'"),
        (MultiLabelContext(2, (7,)), "labels", {"predict": "vote"}, "several labels"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(signal, answers, settings, found):
    with pytest.raises(SigpropError, match=found):
        small(signal, answers, **settings)


@pytest.mark.parametrize(("width", "cells"), [(0.0, 4), (0.5, 0), (float("inf"), 4)])
def test_a_vector_contexts_numbers_are_checked(width, cells):
    with pytest.raises(SigpropError, match=r"(width|cells) of VectorContext"):
        VectorContext(2, (7,), width=width, cells=cells)


@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float64])
@pytest.mark.parametrize("rule", ["voltage", "error-forward", "backpropagation", "local-readout"])
@pytest.mark.filterwarnings("error:signal is")
def test_labels_that_hold_or_not_are_taken_in_any_type(rule, kind):
    labels, x = torch.rand(7, 3) > 0.5, torch.rand(4, 7, 6)
    found = []
    for given in (labels.float(), labels.to(kind)):
        torch.manual_seed(0)
        network = mlp(
            (6,), 3, hidden=(5,), rule=rule,
            signal=lambda layout: MultiLabelContext(3, layout.currents[0]),
        )  # fmt: skip
        found.append([layer.loss for layer in network.learn(x, given).layers])
        update_angles(network, x, given)
    assert found[0] == found[1]


def test_a_batch_of_one_value_warns_once_that_blocks_do_not_learn():
    torch.manual_seed(0)
    network = mlp((6,), 2, hidden=(8,), signal=vector_context)
    x, targets = torch.rand(4, 3, 6), torch.rand(3, 2)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        network.learn(x, targets)
        assert not found
        network.zero_grad()
        for _ in range(2):
            network.learn(x[:, :1], targets[:1])
    (warning,) = found
    assert "one sample" in str(warning.message)
    assert not any(p.grad.any() for p in network.blocks[0].synapse.parameters())
