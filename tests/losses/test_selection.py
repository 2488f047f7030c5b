"""Targets selected from the contexts that come into a layer, by hand and by formula."""

from __future__ import annotations

import math

import pytest
import torch

from sigprop_snn.losses.selection import TopK, TopSamples
from sigprop_snn.network import DotProductLoss

# Three contexts over two steps; the first two have the same mean activity over time.
ALIKE = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
LABELS = torch.tensor([0, 1, 2, 0])


def test_the_label_is_left_alone_and_so_is_the_front():
    assert DotProductLoss().targets(LABELS, ALIKE) is LABELS
    for select in ("maxima", "random-maximum", "top-k"):
        assert DotProductLoss(select=select).targets(LABELS, None) is LABELS


def test_maxima_share_among_contexts_that_come_in_alike():
    got = DotProductLoss(select="maxima").targets(LABELS, ALIKE)
    both, third = [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]
    assert got.tolist() == [both, both, third, both]


def test_a_random_maximum_is_one_of_them_and_each_in_its_turn():
    torch.manual_seed(0)
    loss = DotProductLoss(select="random-maximum")
    drawn = torch.stack([loss.targets(LABELS, ALIKE) for _ in range(60)])
    assert set(drawn[:, 0].tolist()) == {0, 1}
    assert set(drawn[:, 1].tolist()) == {0, 1}
    assert set(drawn[:, 2].tolist()) == {2}
    assert (drawn[:, 0] != drawn[:, 3]).any()  # each sample for itself
    assert 15 < int((drawn[:, 0] == 0).sum()) < 45


def test_top_k_by_formula():
    made = torch.Generator().manual_seed(3)
    incoming = torch.rand(4, 5, 2, 3, dtype=torch.float64, generator=made)
    mean = [[float(incoming[:, m].flatten(1)[:, d].mean()) for d in range(6)] for m in range(5)]

    def near(a: int, b: int) -> float:
        size = math.sqrt(sum(x * x for x in mean[a]) * sum(x * x for x in mean[b]))
        return sum(x * y for x, y in zip(mean[a], mean[b], strict=True)) / size

    got = DotProductLoss(select=TopK(2, 0.3)).targets(LABELS, incoming)
    for row, label in enumerate(LABELS.tolist()):
        best = sorted(range(5), key=lambda m: -near(label, m))[:2]
        weights = {m: math.exp(near(label, m) / 0.3) for m in best}
        by_hand = [weights.get(m, 0.0) / sum(weights.values()) for m in range(5)]
        assert got[row].tolist() == pytest.approx(by_hand)
        assert best[0] == label


def test_top_k_takes_all_where_there_are_fewer():
    got = DotProductLoss(select=TopK(9)).targets(LABELS, ALIKE)
    assert got.shape == (4, 3)
    torch.testing.assert_close(got.sum(1), torch.ones(4))


def test_top_samples_counts_one_copy_of_a_context_for_each_sample_of_the_batch():
    # Similarities to context 0: 1, 0.8, 0.6, 0. To context 2: 0.6, 0.96, 1, 0.8.
    incoming = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]])
    labels = torch.tensor([0, 0, 1, 2, 2, 3])  # copies: 2, 1, 2, 1
    got = DotProductLoss(select=TopSamples(4)).targets(labels, incoming)
    of_first, of_third = [0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.5, 0.25]
    torch.testing.assert_close(got[0], torch.tensor(of_first))
    torch.testing.assert_close(got[3], torch.tensor(of_third))
    torch.testing.assert_close(got[1], got[0])
    few = DotProductLoss(select=TopSamples(2)).targets(labels, incoming)
    assert few[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    all_of_them = DotProductLoss(select="top-samples").targets(labels, incoming)
    torch.testing.assert_close(all_of_them[5], torch.tensor([2.0, 1.0, 2.0, 1.0]) / 6)
    shared = torch.nn.functional.one_hot(labels, 4).float()
    torch.testing.assert_close(DotProductLoss(select=TopSamples(4)).targets(shared, incoming), got)


def test_shares_go_through_the_same_selection():
    shares = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    got = DotProductLoss(select="maxima").targets(shares, ALIKE)
    assert got.tolist() == [[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]]


def test_silent_contexts_are_alike_and_a_lone_one_stays_itself():
    incoming = torch.zeros(2, 3, 4)
    incoming[:, 0] = 1.0
    got = DotProductLoss(select="maxima").targets(torch.tensor([0, 1]), incoming)
    assert got.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]


def test_selection_reaches_the_blocks_behind_the_front(dense, batch):
    x, labels = batch()
    # So warm that every context has its quarter.
    plain, even = dense(), dense(loss=DotProductLoss(select=TopK(4, 1e9)))
    with torch.no_grad():
        ours, theirs = list(even.stages(x, labels)), list(plain.stages(x, labels))
    torch.testing.assert_close(ours[0].loss, theirs[0].loss)  # nothing comes in at the front
    for mine, other in zip(ours[1:3], theirs[1:3], strict=True):
        torch.testing.assert_close(mine.scores, other.scores)
        torch.testing.assert_close(mine.loss, -mine.scores.log_softmax(1).mean())
        assert float((mine.loss - other.loss).detach().abs()) > 1e-3
