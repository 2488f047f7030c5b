"""Pictures of the classes: what is drawn, how it enters, and how it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import Block, DrawnContext, Network, Readout, RunningScale, VoltageRule
from sigprop_snn.neurons import LIF
from sigprop_snn.signals.drawn_context import number_picture

CLOCK = """
### ..# ### ### #.# ### ### ### ### ###
#.# ..# ..# ..# #.# #.. #.. ..# #.# #.#
#.# ..# ### ### ### ### ### ..# ### ###
#.# ..# #.. ..# ..# ..# #.# ..# #.# ..#
### ..# ### ### ..# ### ### ..# ### ###
"""


def test_digits_are_those_of_a_clock():
    lines = [line.split() for line in CLOCK.split("\n") if line]
    for digit in range(10):
        by_hand = torch.tensor([[cell == "#" for cell in line[digit]] for line in lines]).float()
        # 5x3 cells at twice the size are four fifths of 12 or 13 rows
        drawn = number_picture(digit, (2, 12, 12))
        found = drawn[0, 1:11, 3:9]
        torch.testing.assert_close(
            found, by_hand.repeat_interleave(2, 0).repeat_interleave(2, 1), msg=f"{digit}"
        )
        assert torch.equal(drawn[0], drawn[1])
        assert drawn.sum() == 2 * found.sum()  # nothing beside the digit


def test_numbers_of_several_digits_fit_and_differ():
    drawn = torch.stack([number_picture(number, (3, 32, 32)) for number in range(100)])
    assert drawn.shape == (100, 3, 32, 32)
    assert len(drawn.flatten(1).unique(dim=0)) == 100
    tiny = torch.stack([number_picture(number, (1, 8, 8)) for number in range(10)])
    assert len(tiny.flatten(1).unique(dim=0)) == 10


def network(signal: DrawnContext, inputs: int = 12) -> Network:
    torch.manual_seed(0)
    front = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 9))
    blocks = [
        Block(front, LIF(0.8), norm=RunningScale(9, 2.0)),
        Block(nn.Linear(9, 8), LIF(0.8), norm=RunningScale(8, 2.0)),
    ]
    rule = VoltageRule(statistic="mean")
    return Network(signal, blocks, Readout(8, signal.classes), rule=rule).double()


def samples(rows: int = 8, steps: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    x = torch.randn(steps, rows, 1, 3, 4, dtype=torch.float64, generator=made)
    return x, torch.arange(rows) % 4


def test_pictures_enter_behind_the_samples_and_stay_out_of_the_normaliser():
    signal = DrawnContext(4, (1, 3, 4), gain=2.0).double()
    x, labels = samples()
    entry = signal.enter(x, labels)
    assert entry.contexts is None and entry.samples == entry.observed_rows == 8
    assert torch.equal(entry.inputs[:, :8], x)
    for step in range(3):
        assert torch.equal(entry.inputs[step, 8:], signal.picture)
    assert float(signal.picture.max()) == 2.0
    constant = signal.enter(x[0].expand(3, *x.shape[1:]), labels)
    assert constant.inputs.stride(0) == 0  # a constant input stays one step in memory


def test_a_learned_pictures_gradient_is_that_of_the_unrolled_first_layer():
    net = network(DrawnContext(4, (1, 3, 4), learned=True))
    x, labels = samples()
    next(iter(net.stages(x, labels))).loss.backward()
    picture = net.signal.picture.detach().clone().requires_grad_()
    block, linear = net.blocks[0], net.blocks[0].synapse[1]
    weight, bias = (p.detach().clone().requires_grad_() for p in (linear.weight, linear.bias))
    size = 0.0
    for step in x:  # the normaliser saw the samples alone
        size += float((step.flatten(1) @ weight.t() + bias).detach().square().mean()) / 3
    voltage = torch.zeros(12, 9, dtype=torch.float64)
    total = 0.0
    for step in x:
        rows = torch.cat([step.flatten(1), picture.flatten(1)])
        current = rows @ weight.t() + bias
        voltage = 0.8 * voltage + block.norm.gain.detach() * current / (size + 1e-6) ** 0.5
        total = total + voltage / 3
        voltage = voltage - (voltage.detach() > 1).double()
    h, t = total[:8], total[8:]
    near = (h @ t.t()) / (h.norm(dim=1, keepdim=True) * t.norm(dim=1))
    nn.functional.cross_entropy(20 * near, labels).backward()
    torch.testing.assert_close(net.signal.picture.grad, picture.grad, rtol=1e-9, atol=1e-12)
    assert picture.grad.abs().max() > 1e-6
    torch.testing.assert_close(linear.weight.grad, weight.grad)


def test_means_are_those_of_the_training_samples_seen_so_far():
    signal = DrawnContext(4, (1, 3, 4), pictures="mean").double()
    x, _ = samples(rows=10)
    labels = torch.tensor([0, 1, 1, 3, 0, 0, 1, 3, 3, 3])
    signal.enter(x[:, :6], labels[:6])
    signal.enter(x[:, 6:], labels[6:])
    for kind in (0, 1, 3):
        by_hand = sum(x[:, b].sum(0) / 3 for b in range(10) if labels[b] == kind)
        by_hand = by_hand / int((labels == kind).sum())
        torch.testing.assert_close(signal.picture[kind], by_hand)
    assert not signal.picture[2].any()  # a class not seen yet
    before = signal.picture.clone()
    signal.enter(x, None)
    signal.eval().enter(x, labels)
    assert torch.equal(signal.picture, before)


@pytest.mark.parametrize("settings", [{}, {"learned": True}, {"pictures": "mean"}])
def test_every_layer_learns_and_guesses(settings):
    net = network(DrawnContext(4, (1, 3, 4), **settings))
    x, labels = samples()
    learned = net.learn(x, labels)
    assert [layer.name for layer in learned.layers] == ["block1", "block2", "readout"]
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert all(stage.scores.shape == (8, 4) for stage in net.stages(x))


def test_samples_that_are_no_pictures_get_patterns():
    torch.manual_seed(0)
    signal = DrawnContext(4, (12,))
    assert signal.picture.shape == (4, 12)
    assert set(signal.picture.flatten().tolist()) == {0.0, 1.0}


def test_wrong_choices_are_refused():
    with pytest.raises(UnknownNameError, match="'photo'"):
        DrawnContext(4, (1, 3, 4), pictures="photo")
    with pytest.raises(SigpropError, match="1 classes"):
        DrawnContext(1, (1, 3, 4))
