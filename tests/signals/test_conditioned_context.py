"""Contexts conditioned on the input: their currents by formula, and who meets which."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Block, ConditionedContext, Network, Online, Readout, RunningScale
from sigprop_snn.neurons import LIF

CLASSES = 5


def make(**settings) -> ConditionedContext:
    torch.manual_seed(0)
    return ConditionedContext(CLASSES, (7,), (2, 3), rank=4, gain=1.5, **settings).double()


def unit(row: torch.Tensor) -> torch.Tensor:
    centred = row - row.mean()
    return centred / (centred.square().mean() + 1e-10).sqrt()


def test_a_context_is_the_projection_of_class_and_sample():
    signal = make(share=0.4)
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64)  # T, B, ...
    entry = signal.enter(x, None)
    assert entry.contexts_per_sample == CLASSES and entry.samples == entry.observed_rows == 2
    assert torch.equal(entry.inputs, x)
    assert entry.contexts.shape == (CLASSES * 2, 7)
    for b in range(2):
        sample = unit((x[:, b].sum(0) / 3).flatten() @ signal.mixture @ signal.of_input)
        for c in range(CLASSES):
            by_hand = 1.5 * unit(unit(signal.projection[c]) + 0.4 * sample)
            torch.testing.assert_close(entry.contexts[c * 2 + b], by_hand)


def test_learning_meets_the_right_class_once_and_others_at_most_once():
    signal, x = make(wrong=2), torch.randn(3, 40, 2, 3, dtype=torch.float64)
    labels = torch.arange(40) % CLASSES
    places, met_by_first = [], set()
    for _ in range(8):
        entry = signal.enter(x, labels)
        assert entry.contexts_per_sample == 3 and entry.contexts.shape == (120, 7)
        assert torch.equal(entry.answers, labels)
        own = entry.contexts.view(3, 40, 7).transpose(0, 1)
        everyone = signal.enter(x, None).contexts.view(CLASSES, 40, 7).transpose(0, 1)
        same = (own[:, :, None] - everyone[:, None]).abs().amax(3) < 1e-12  # [B, K, C]
        assert (same.sum(2) == 1).all()  # each context is one class's
        met = same.long().argmax(2)
        assert all(len(set(row)) == 3 for row in met.tolist())
        right = met.gather(1, entry.targets[:, None]).squeeze(1)
        assert torch.equal(right, labels)
        places.append(entry.targets)
        met_by_first |= set(met[0].tolist())
    shares = torch.cat(places).bincount(minlength=3) / 320
    assert ((shares > 0.23) & (shares < 0.44)).all()  # the right one stands anywhere
    assert met_by_first == set(range(CLASSES))  # drawn anew each time


def test_the_draws_go_on_where_a_saved_signal_stopped():
    x, labels = torch.randn(3, 9, 2, 3, dtype=torch.float64), torch.arange(9) % CLASSES
    signal = make(wrong=2)
    signal.enter(x, labels)
    saved = {name: value.clone() for name, value in signal.state_dict().items()}
    ahead = signal.enter(x, labels)
    torch.manual_seed(99)
    resumed = make(wrong=2)
    resumed.load_state_dict(saved)
    again = resumed.enter(x, labels)
    assert torch.equal(again.targets, ahead.targets)
    assert torch.equal(again.contexts, ahead.contexts)


def test_few_classes_are_all_met_in_their_order():
    signal, x = make(wrong=9), torch.randn(3, 6, 2, 3, dtype=torch.float64)
    labels = torch.arange(6) % CLASSES
    entry = signal.enter(x, labels)
    assert entry.contexts_per_sample == CLASSES and torch.equal(entry.targets, labels)
    assert torch.equal(entry.contexts, signal.enter(x, None).contexts)


def test_no_share_of_the_sample_is_the_plain_context():
    signal, x = make(share=0.0), torch.randn(3, 2, 2, 3, dtype=torch.float64)
    own = signal.enter(x, None).contexts.view(CLASSES, 2, 7)
    torch.testing.assert_close(own[:, 0], own[:, 1])


def network(**settings) -> Network:
    torch.manual_seed(0)
    front = nn.Sequential(nn.Flatten(), nn.Linear(6, 7))
    blocks = [
        Block(front, LIF(0.8), norm=RunningScale(7, 2.0)),
        Block(nn.Linear(7, 8), LIF(0.8), norm=RunningScale(8, 2.0)),
    ]
    signal = ConditionedContext(CLASSES, (7,), (2, 3), **settings)
    return Network(signal, blocks, Readout(8, CLASSES)).double()


def test_every_layer_learns_by_its_own_contexts_and_guesses_among_all():
    net = network(wrong=2)
    x, labels = torch.randn(3, 10, 2, 3, dtype=torch.float64), torch.arange(10) % CLASSES
    stages = list(net.stages(x, labels))
    assert [tuple(stage.scores.shape) for stage in stages] == [(10, 3), (10, 3), (10, CLASSES)]
    guesses = list(net.stages(x))
    assert [tuple(stage.scores.shape) for stage in guesses] == [(10, CLASSES)] * 3
    net.learn(x, labels)
    assert all(p.grad is not None and p.grad.any() for p in net.signal.parameters())
    assert all(p.grad is not None for p in net.parameters())


def test_one_samples_guess_does_not_depend_on_the_others():
    net = network().eval()
    x = torch.randn(3, 10, 2, 3, dtype=torch.float64)
    together = list(net.stages(x))
    alone = list(net.stages(x[:, 4:5]))
    for one, all_of_them in zip(alone, together, strict=True):
        torch.testing.assert_close(one.scores, all_of_them.scores[4:5])


def test_contexts_that_change_from_part_to_part_are_not_learned_online():
    with pytest.raises(SigpropError, match="can't learn online with ConditionedContext"):
        Online(network())


def test_a_fixed_one_keeps_its_weights():
    net = network(learned=False)
    net.learn(torch.randn(3, 10, 2, 3, dtype=torch.float64), torch.arange(10) % CLASSES)
    assert all(p.grad is None for p in net.signal.parameters())


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"wrong": 0}, "wrong of .* is 0"),
        ({"rank": 0}, "rank of .* is 0"),
        ({"share": -1.0}, "share of .* is -1.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_value(settings, found):
    with pytest.raises(SigpropError, match=found):
        ConditionedContext(CLASSES, (7,), (6,), **settings)
