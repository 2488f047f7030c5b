"""The label overlay: what it draws, for whom, and that no label reaches a pass that predicts."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import SIGNALS, LabelOverlay, layout_of, mlp, wrong_labels


def pictures(rows: int = 4, *, seed: int = 0) -> torch.Tensor:
    """Pictures `[2, rows, 1, 3, 3]` that differ from step to step."""
    return torch.rand(2, rows, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_the_rows_that_enter_while_learning_are_neutral_right_and_wrong():
    x, labels = pictures(), torch.tensor([2, 0, 3, 1])
    entry = LabelOverlay(4, (1, 3, 3), strength=2.0).enter(x, labels)
    assert entry.inputs.shape == (2, 12, 1, 3, 3)
    assert (entry.samples, entry.contexts_per_sample, entry.observed_rows, entry.contexts) == (
        4,
        2,
        12,
        None,
    )
    assert torch.equal(entry.answers, labels)
    assert torch.equal(entry.targets, torch.zeros(4, dtype=torch.long))
    neutral, right, wrong = entry.inputs.flatten(2).split(4, dim=1)
    assert (neutral[:, :, :4] == 0.5).all()
    for row, label in enumerate(labels.tolist()):
        expected = [0.0] * 4
        expected[label] = 2.0
        assert right[0, row, :4].tolist() == right[1, row, :4].tolist() == expected
        drawn = int(wrong[0, row, :4].argmax())
        assert drawn != label
        assert sorted(wrong[0, row, :4].tolist()) == [0.0, 0.0, 0.0, 2.0]
        assert torch.equal(wrong[0, row, :4], wrong[1, row, :4])
    for rows in (neutral, right, wrong):
        assert torch.equal(rows[:, :, 4:], x.flatten(2)[:, :, 4:])


def test_without_labels_the_contexts_are_those_of_every_class():
    x = pictures()
    entry = LabelOverlay(3, (1, 3, 3), strength=1.0).enter(x, None)
    assert (entry.samples, entry.contexts_per_sample, entry.targets, entry.answers) == (
        4,
        3,
        None,
        None,
    )
    contexts = entry.inputs[:, 4:].unflatten(1, (3, 4)).flatten(3)
    for label in range(3):
        assert torch.equal(contexts[:, label, :, :3], torch.eye(3)[label].expand(2, 4, 3))
        assert torch.equal(contexts[:, label, :, 3:], x.flatten(2)[:, :, 3:])


def test_more_classes_than_a_row_has_pixels_go_on_in_the_next_row():
    colour = torch.zeros(1, 1, 2, 3, 3)
    entry = LabelOverlay(5, (2, 3, 3)).enter(colour, torch.tensor([4]))
    assert entry.inputs[0, 1].nonzero().tolist() == [[0, 1, 1]]


def test_the_rows_of_contexts_alone():
    entry = LabelOverlay(4, (1, 3, 3)).enter(pictures(), torch.tensor([2, 0, 3, 1]))
    alone = entry.without_samples()
    assert (alone.samples, alone.observed_rows, alone.contexts_per_sample) == (0, 8, 2)
    assert torch.equal(alone.inputs, entry.inputs[:, 4:])


def test_constant_input_stays_constant_and_is_not_written_to():
    x = torch.rand(1, 4, 1, 3, 3)
    before = x.clone()
    signal = LabelOverlay(4, (1, 3, 3))
    entry = signal.enter(x.expand(5, 4, 1, 3, 3), torch.tensor([2, 0, 3, 1]))
    assert entry.inputs.shape[0] == 5
    assert entry.inputs.stride(0) == 0
    assert signal.plain(x.expand(5, 4, 1, 3, 3)).stride(0) == 0
    assert torch.equal(x, before)


def test_no_label_in_the_sample_reaches_a_pass_that_predicts():
    """Samples that differ in the overlaid pixels alone look the same, in every way to predict."""
    x, y = pictures(6), pictures(6)
    y.flatten(2)[:, :, :4] = torch.eye(4)[torch.arange(6) % 4]  # labels that someone left in
    assert not torch.equal(x, y)
    signal = LabelOverlay(4, (1, 3, 3))
    assert torch.equal(signal.plain(x), signal.plain(y))
    assert torch.equal(signal.enter(x, None).inputs, signal.enter(y, None).inputs)
    for predict in ("vote", "context", "readout"):
        torch.manual_seed(0)
        network = mlp((1, 3, 3), 4, hidden=(6, 5), signal=SIGNALS["label-overlay"], predict=predict)
        assert torch.equal(network.eval()(x), network(y))


def test_every_label_but_the_right_one_is_drawn_and_alike():
    torch.manual_seed(0)
    labels = torch.full((9000,), 2)
    counts = wrong_labels(labels, 4).bincount(minlength=4)
    assert counts[2] == 0
    assert ((counts[[0, 1, 3]] - 3000).abs() < 200).all()


def test_hard_negatives_are_drawn_as_they_are_believed():
    torch.manual_seed(0)
    labels = torch.full((8000,), 1)
    beliefs = torch.tensor([0.06, 0.90, 0.03, 0.01]).expand(8000, 4)
    shares = wrong_labels(labels, 4, beliefs).bincount(minlength=4) / 8000
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.0, 0.3, 0.1]), atol=0.02, rtol=0)


def test_a_network_that_is_sure_still_gets_a_wrong_label():
    labels = torch.arange(4)
    sure = torch.eye(4)
    assert (wrong_labels(labels, 4, sure) != labels).all()


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"classes": 1}, "1 classes"),
        ({"classes": 10}, r"shape \[1, 3, 3\]"),
        ({"strength": 0.0}, "strength of .* is 0.0"),
        ({"strength": float("nan")}, "nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, found):
    with pytest.raises(SigpropError, match=found):
        LabelOverlay(**{"classes": 4, "sample": (1, 3, 3)} | settings)


def test_samples_of_another_shape_are_refused():
    with pytest.raises(SigpropError, match=r"\[2, 4, 9\]"):
        LabelOverlay(4, (1, 3, 3)).plain(pictures().flatten(2))


def test_by_name_it_fits_the_layout():
    network = mlp((1, 4, 4), 5, hidden=(6,))
    layout = layout_of(list(network.each_block()), (1, 4, 4), 5)
    signal = SIGNALS["label-overlay"](layout)
    assert isinstance(signal, LabelOverlay)
    assert (signal.classes, signal.sample) == (5, (1, 4, 4))
