"""The dot-product loss against examples computed by hand and against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.scoring import correct
from sigprop_snn.network import LOSSES, DotProductLoss


def test_scores_are_scaled_cosines():
    samples = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    contexts = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-8.0, -6.0]])
    scores = DotProductLoss(scale=10.0).scores(samples, contexts)
    by_hand = torch.tensor([[6.0, 8.0, -9.6], [0.0, -10.0, 6.0]])
    torch.testing.assert_close(scores, by_hand)


def test_centred_takes_each_rows_own_mean_off_first():
    samples = torch.tensor([[4.0, 5.0, 6.0]])  # -1, 0, 1
    contexts = torch.tensor([[1.0, 1.0, 4.0], [3.0, 2.0, 1.0]])  # -1, -1, 2 and 1, 0, -1
    scores = DotProductLoss(scale=2.0, centred=True).scores(samples, contexts)
    torch.testing.assert_close(scores, torch.tensor([[2 * 3 / math.sqrt(12), -2.0]]))
    plain = DotProductLoss(scale=2.0).scores(samples, contexts)
    torch.testing.assert_close(plain[0, 1], torch.tensor(2 * 28 / math.sqrt(77 * 14)))


def test_maps_are_averaged_over_a_grid_and_small_ones_are_not():
    maps = torch.arange(32.0).view(1, 2, 4, 4)
    blocks = maps.view(2, 2, 2, 2, 2).mean((2, 4)).flatten()  # channel, grid row, grid column
    other = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    others = other.view(3, 2, 2, 2, 2, 2).mean((3, 5)).flatten(1)
    by_hand = others @ blocks / (others.norm(dim=1) * blocks.norm())
    got = DotProductLoss(scale=1.0, grid=2).scores(maps, other)
    torch.testing.assert_close(got, by_hand.view(1, 3))

    fine = DotProductLoss(scale=1.0, grid=3).scores(maps, other)  # just over the grid: averaged
    pooled = [nn.functional.adaptive_avg_pool2d(t, 3).flatten(1) for t in (maps, other)]
    torch.testing.assert_close(fine, DotProductLoss(scale=1.0).scores(*pooled))

    whole = other.flatten(1) @ maps.flatten() / (other.flatten(1).norm(dim=1) * maps.norm())
    for grid in (4, 5):
        got = DotProductLoss(scale=1.0, grid=grid).scores(maps, other)
        torch.testing.assert_close(got, whole.view(1, 3))
    by_mean = DotProductLoss(scale=1.0, grid=1).scores(maps, other)
    means, mean = other.mean((2, 3)), maps.mean((2, 3))[0]
    torch.testing.assert_close(by_mean[0], means @ mean / (means.norm(dim=1) * mean.norm()))


def test_cross_entropy_by_hand():
    scores = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    first = math.log(math.exp(2) + 1 + math.exp(-1)) - 0.0  # label 1
    got = DotProductLoss().loss(scores, torch.tensor([1, 2]))
    assert float(got) == pytest.approx((first + math.log(3)) / 2, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_label_smoothing_by_formula(share):
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).double()
    labels = torch.tensor([0, 3, 1, 1, 2])
    target = torch.full((5, 4), share / 4, dtype=torch.float64)
    target[torch.arange(5), labels] += 1 - share
    by_hand = -(target * (scores - scores.logsumexp(1, keepdim=True))).sum(1).mean()
    got = DotProductLoss(label_smoothing=share).loss(scores, labels)
    assert float(got) == pytest.approx(float(by_hand), abs=1e-12)


def test_a_silent_sample_scores_zero_everywhere_and_its_gradient_is_finite():
    samples = torch.zeros(1, 3, requires_grad=True)
    scores = DotProductLoss().scores(samples.relu(), torch.eye(3))
    assert torch.equal(scores, torch.zeros(1, 3))
    DotProductLoss().loss(scores, torch.tensor([0])).backward()
    assert torch.isfinite(samples.grad).all()


def test_a_tie_is_never_counted_as_right():
    scores = torch.tensor([[0.0, 0.0, 0.0], [1.0, 3.0, 2.0], [5.0, 5.0, 1.0], [1.0, 0.0, 0.0]])
    assert correct(scores, torch.tensor([0, 1, 0, 2])).tolist() == [False, True, False, False]


class Doubled(DotProductLoss):
    def scores(self, samples, contexts):
        return 2 * super().scores(samples, contexts)


@pytest.mark.parametrize(
    "loss",
    [
        DotProductLoss(),
        DotProductLoss(label_smoothing=0.2, centred=True, grid=2),
        DotProductLoss(normalise="size"),
        Doubled(),
    ],
    ids=["cosines", "smoothed", "size", "doubled"],
)
def test_scores_and_loss_together_are_those_one_after_the_other(loss):
    torch.manual_seed(0)
    samples, contexts = (torch.randn(n, 3, 4, 4, requires_grad=True) for n in (6, 4))
    labels = torch.randint(4, (6,))
    together = loss.compare(samples, contexts, labels)
    scores = loss.scores(samples, contexts)
    alone = loss.loss(scores, labels)
    torch.testing.assert_close(together.scores, scores)
    torch.testing.assert_close(together.loss, alone)
    grads = [torch.autograd.grad(3 * of, (samples, contexts)) for of in (together.loss, alone)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_without_a_gradient_nothing_is_made_ready_for_one():
    samples, contexts = torch.rand(6, 5), torch.rand(4, 5)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    assert not DotProductLoss().compare(samples, contexts, labels).loss.requires_grad
    with torch.no_grad():
        found = DotProductLoss().compare(samples.requires_grad_(), contexts, labels)
    assert not found.loss.requires_grad


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"scale": 0.0}, "scale of DotProductLoss is 0.0"),
        ({"scale": -1.0}, "scale of DotProductLoss is -1.0"),
        ({"scale": float("nan")}, "nan"),
        ({"scale": float("inf")}, "inf"),
        ({"grid": 0}, "grid of DotProductLoss is 0"),
        ({"label_smoothing": -0.1}, "-0.1"),
        ({"label_smoothing": 1.5}, "1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_value(settings, found):
    with pytest.raises(SigpropError, match=found):
        DotProductLoss(**settings)


def test_the_catalogue_makes_losses():
    assert isinstance(LOSSES["dot-product"](), DotProductLoss)


def test_contexts_of_a_samples_own_are_compared_with_that_sample_alone():
    made = torch.Generator().manual_seed(0)
    samples = torch.randn(4, 6, generator=made)
    own = torch.randn(4, 3, 6, generator=made)
    scores = DotProductLoss(scale=2.0).scores(samples, own)
    for row in range(4):
        alone = DotProductLoss(scale=2.0).scores(samples[row : row + 1], own[row])
        torch.testing.assert_close(scores[row : row + 1], alone)
