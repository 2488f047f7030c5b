"""Losses add up and take weights, as numbers do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.losses import dot_product
from sigprop_snn.losses.base import Compared, LocalLoss, WeightedSum
from sigprop_snn.network import (
    BinaryLoss,
    CosineLoss,
    DotProductLoss,
    L2Loss,
    MultiLabelContext,
    Similarity,
    TopK,
    mlp,
)

DOT, L2, SIMILAR = DotProductLoss(), L2Loss(), Similarity()


def streams():
    made = torch.Generator().manual_seed(0)
    h, t = (torch.randn(n, 6, dtype=torch.float64, generator=made) for n in (5, 3))
    return h.requires_grad_(), t.requires_grad_(), torch.tensor([2, 0, 1, 2, 2])


def test_sums_are_flat_and_weights_multiply():
    assert DOT + 10 * SIMILAR == DOT + SIMILAR * 10
    assert (DOT + L2) + SIMILAR == DOT + (L2 + SIMILAR)
    assert 2 * (DOT + 3 * SIMILAR) == 2 * DOT + 6 * SIMILAR
    assert [weight for weight, _ in (DOT + 10 * SIMILAR).terms] == [1, 10]
    assert len({DOT + SIMILAR, DOT + SIMILAR, SIMILAR + DOT}) == 2  # hashed by value


def test_a_sum_is_shown_as_it_is_written():
    assert repr(DOT + 10 * SIMILAR) == f"{DOT!r} + 10 * Similarity(kernel=3, grid=None)"
    assert repr(0.5 * L2) == f"0.5 * {L2!r}"


def test_the_loss_is_the_weighted_sum_and_the_scores_are_the_firsts():
    h, t, labels = streams()
    first, second = DOT.compare(h, t, labels), CosineLoss().compare(h, t, labels)
    found = (SIMILAR + 2 * DOT + 0.5 * CosineLoss()).compare(h, t, labels)
    torch.testing.assert_close(found.scores, first.scores)
    torch.testing.assert_close(found.loss, 2 * first.loss + 0.5 * second.loss)
    twice = (DOT + DOT).compare(h, t, labels)
    torch.testing.assert_close(twice.loss, 2 * first.loss)
    total = 3 * SIMILAR + DOT + SIMILAR
    among = SIMILAR.compare_samples(h, labels, 3, None)
    torch.testing.assert_close(total.compare_samples(h, labels, 3, None), 4 * among)
    assert (DOT + L2).compare_samples(h, labels, 3, None) is None


def test_gradients_are_weighted_as_well():
    h, t, labels = streams()
    alone = torch.autograd.grad(DOT.compare(h, t, labels).loss, (h, t))
    weighted = torch.autograd.grad((4 * DOT + SIMILAR).compare(h, t, labels).loss, (h, t))
    for one, other in zip(alone, weighted, strict=True):
        torch.testing.assert_close(4 * one, other)


def test_inside_a_sum_dot_products_take_the_path_without_a_graph(monkeypatch):
    calls = []
    fast = dot_product.cosine_cross_entropy

    def counted(*args):
        calls.append(args)
        return fast(*args)

    monkeypatch.setattr(dot_product, "cosine_cross_entropy", counted)
    (DOT + 10 * SIMILAR).compare(*streams())
    assert len(calls) == 1


def test_targets_and_answers_follow_the_terms():
    chosen = DotProductLoss(select=TopK())
    assert (SIMILAR + chosen).compares_contexts and not (DOT + SIMILAR).compares_contexts
    assert not (2 * SIMILAR).compares_contexts
    labels, incoming = torch.tensor([0, 2]), torch.rand(4, 3, 5)
    torch.testing.assert_close(
        (SIMILAR + chosen).targets(labels, incoming), chosen.targets(labels, incoming)
    )
    assert (BinaryLoss() + SIMILAR).takes == {"classes", "labels"}
    assert (BinaryLoss() + DOT).takes == {"classes"}
    with pytest.raises(SigpropError, match=r"DotProductLoss.*labels"):
        mlp((6,), 3, loss=BinaryLoss() + DOT, signal=lambda at: MultiLabelContext(3, (800,)))


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive_and_finite(weight):
    with pytest.raises(SigpropError, match=rf"Similarity has the weight {weight}"):
        weight * SIMILAR


@pytest.mark.parametrize("other", [1, "l2", None, torch.ones(1), True])
def test_only_losses_are_added(other):
    with pytest.raises(TypeError):
        DOT + other
    with pytest.raises(TypeError):
        other + DOT


@pytest.mark.parametrize("weight", ["2", None, True, DOT])
def test_only_numbers_are_weights(weight):
    with pytest.raises(TypeError):
        weight * SIMILAR
    with pytest.raises(TypeError):
        SIMILAR * weight


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(SigpropError, match="no terms"):
        WeightedSum(())


@dataclass(frozen=True)
class OwnCompare(LocalLoss):
    """A loss that knows nothing of heads and sums."""

    def scores(self, samples, contexts):
        return samples.flatten(1) @ contexts.flatten(1).t()

    def loss(self, scores, labels):
        return -scores.gather(1, labels[:, None]).mean()

    def compare(self, samples, contexts, labels):
        scores = self.scores(samples, contexts)
        return Compared(scores, self.loss(scores, labels))


def test_a_loss_with_its_own_compare_learns_alone_and_in_a_sum():
    x, labels = torch.rand(3, 6, 5), torch.arange(6) % 3
    losses = []
    for loss in (OwnCompare(), OwnCompare() + 10 * SIMILAR):
        torch.manual_seed(0)
        losses.append(mlp((5,), 3, hidden=(8,), loss=loss).learn(x, labels).layers[0].loss)
    assert losses[1] > losses[0]
