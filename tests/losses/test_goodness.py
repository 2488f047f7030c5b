"""Goodness against examples worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import LOSSES, Goodness, LengthNorm, mlp


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_scores_are_scaled_mean_squares_of_the_contexts_alone():
    contexts = torch.tensor([[[1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 2.0, 0.0]]])  # means 3.5 and 1
    for samples in (torch.zeros(1, 4), torch.ones(0, 4)):
        scores = Goodness(sharpness=2.0).scores(samples, contexts)
        torch.testing.assert_close(scores, torch.tensor([[7.0, 2.0]]))


def test_maps_are_one_row_of_features():
    contexts = torch.arange(16.0).view(2, 1, 2, 2, 2)
    scores = Goodness(sharpness=1.0).scores(torch.zeros(2, 2, 2, 2), contexts)
    by_hand = [[sum(i * i for i in range(8)) / 8], [sum(i * i for i in range(8, 16)) / 8]]
    torch.testing.assert_close(scores, torch.tensor(by_hand))


def test_loss_against_the_threshold_by_hand():
    loss = Goodness("threshold", threshold=1.5, sharpness=2.0)  # in scores: 3
    scores = torch.tensor([[5.0, 1.0], [2.0, 4.0]])  # the right ones: 5 and 4
    by_hand = (softplus(3 - 5) + softplus(3 - 4) + softplus(1 - 3) + softplus(2 - 3)) / 4
    assert float(loss.loss(scores, torch.tensor([0, 1]))) == pytest.approx(by_hand)


def test_loss_against_the_wrong_by_hand():
    scores = torch.tensor([[5.0, 1.0, 4.0], [2.0, 4.0, 7.0]])  # the right ones: 5 and 4
    by_hand = (softplus(-4) + softplus(-1) + softplus(-2) + softplus(3)) / 4
    got = Goodness("wrong").loss(scores, torch.tensor([0, 1]))
    assert float(got) == pytest.approx(by_hand)


@pytest.mark.parametrize("against", ["threshold", "wrong"])
def test_the_gradient_by_formula(against):
    """d loss / d activity = -/+ sigmoid(...) * sharpness * 2 a / n, row by row."""
    made = torch.Generator().manual_seed(0)
    activity = torch.randn(3, 2, 5, dtype=torch.float64, generator=made).requires_grad_()
    loss = Goodness(against, threshold=0.8, sharpness=3.0)
    loss.loss(loss.scores(activity[:, 0], activity), torch.zeros(3, dtype=torch.long)).backward()
    a = activity.detach()
    good = 3.0 * a.square().mean(2)
    if against == "wrong":
        pull = torch.sigmoid(good[:, 1] - good[:, 0])
        by_hand = torch.stack([-pull, pull], dim=1)
    else:
        right, wrong = torch.sigmoid(2.4 - good[:, 0]), torch.sigmoid(good[:, 1] - 2.4)
        by_hand = torch.stack([-right, wrong], dim=1) / 2
    by_hand = by_hand[:, :, None] / 3 * 3.0 * 2 * a / 5
    torch.testing.assert_close(activity.grad, by_hand)


def test_shared_contexts_are_refused():
    with pytest.raises(SigpropError, match="label-overlay"):
        Goodness().scores(torch.zeros(4, 6), torch.zeros(3, 6))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"sharpness": 0.0}, "sharpness of Goodness is 0.0"),
        ({"threshold": float("inf")}, "inf"),
        ({"against": "all"}, "unknown against 'all'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, found):
    with pytest.raises(SigpropError, match=found):
        Goodness(**settings)


def test_by_name():
    assert isinstance(LOSSES["goodness"](), Goodness)


def test_length_norm_leaves_the_direction_alone():
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-1.0, 0.0]])
    root = math.sqrt(2)
    by_hand = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]) * root
    torch.testing.assert_close(LengthNorm()(rows), by_hand)
    maps = torch.randn(2, 3, 4, 4)
    normed = LengthNorm()(maps)
    assert normed.shape == maps.shape
    torch.testing.assert_close(normed.flatten(1).square().mean(1), torch.ones(2))


def test_a_network_with_length_norms_does_not_hear_how_active_the_layer_below_is():
    torch.manual_seed(0)
    network = mlp((20,), 3, hidden=(300, 10), norm="length", gain=1.5)
    assert len([m for m in network.modules() if isinstance(m, LengthNorm)]) == 2
    quiet, loud = torch.rand(1, 6, 20), torch.rand(1, 6, 20)
    loud[:] = 7 * quiet
    first = network.blocks[0].current(quiet)
    torch.testing.assert_close(first, network.blocks[0].current(loud))
    assert float(first.detach().square().mean().sqrt()) == pytest.approx(1.5, rel=0.15)
    with pytest.raises(SigpropError, match="unknown norm 'size'"):
        mlp((20,), 3, norm="size")
