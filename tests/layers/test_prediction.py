"""Prediction by a subset of contexts and against a neutral context, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.prediction import above_neutral, narrowed, subset_sizes
from sigprop_snn.layers.scoring import correct
from sigprop_snn.network import BinaryLoss, DotProductLoss, mlp, multi_label_context

OUT = -math.inf


def pictures(classes=6, rows=12):
    torch.manual_seed(0)
    return torch.rand(4, rows, 7), torch.arange(rows) % classes


def test_the_subset_falls_by_one_factor_from_all_contexts_to_two():
    assert subset_sizes(10, 6) == [8, 6, 4, 3, 2]
    assert subset_sizes(8, 3) == [4, 2]
    assert subset_sizes(2, 4) == [2, 2, 2]
    assert subset_sizes(9, 1) == []


def test_the_last_block_chooses_among_the_contexts_that_each_block_below_kept():
    first = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0]])  # keeps 0 to 3
    second = torch.tensor([[0.0, 1.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0]])  # keeps 2 and 3
    last = torch.tensor([[9.0, 9.0, 1.0, 2.0, 9.0, 9.0, 9.0, 9.0]])
    found = narrowed([first, second, last])
    assert found.tolist() == [[OUT, OUT, 1.0, 2.0, OUT, OUT, OUT, OUT]]
    assert narrowed([last]) is not None
    assert narrowed([last]).tolist() == last.tolist()


def test_contexts_with_equal_scores_stay_together():
    silent = torch.zeros(1, 8)
    last = torch.arange(8.0)[None]
    assert narrowed([silent, silent, last]).tolist() == last.tolist()


def test_a_dropped_class_is_never_right():
    first = torch.tensor([[5.0, 4.0, 3.0, 2.0]])
    last = torch.tensor([[0.0, 0.0, 0.0, 9.0]])
    assert not correct(narrowed([first, last]), torch.tensor([3]))
    not_a_number = torch.full((1, 4), math.nan)
    assert not correct(narrowed([not_a_number, last, last]), torch.tensor([3]))


def test_a_network_predicts_by_the_subset_of_its_blocks_and_learns_as_with_all_contexts():
    x, labels = pictures()
    made = {}
    for predict in ("context", "subset"):
        torch.manual_seed(0)
        made[predict] = mlp((7,), 6, hidden=(9, 8, 7), predict=predict)
        for _ in range(3):
            learned = made[predict].learn(x, labels)
    network = made["subset"].eval()
    blocks = [s.scores for s in network.stages(x) if s.name != "readout"]
    kept = torch.ones(12, 6, dtype=torch.bool)
    for count, scores in zip([4, 2], blocks[:2], strict=True):
        for row in range(12):
            among = [k for k in range(6) if kept[row, k]]
            best = sorted(among, key=lambda k: -scores[row, k].item())[:count]
            kept[row] = torch.tensor([k in best for k in range(6)])
    expected = torch.where(kept, blocks[2], torch.tensor(OUT))
    assert torch.equal(network(x), expected)
    torch.testing.assert_close(network.learn(x, labels).scores, expected)
    assert learned.scores.isfinite().sum() == 2 * 12
    for one, other in zip(made["context"].parameters(), network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_neutral_context_is_the_mean_of_the_contexts():
    samples = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    contexts = torch.tensor([[2.0, 0.0], [0.0, 4.0]])  # their mean is [1, 2]
    loss = DotProductLoss(scale=1.0, normalise="none")
    scores = loss.scores(samples, contexts)
    found = above_neutral(scores, loss, samples, contexts)
    assert found.tolist() == [[2 - 1, 0 - 1], [2 - 3, 4 - 3]]
    own = contexts.expand(2, 2, 2)
    assert torch.equal(above_neutral(loss.scores(samples, own), loss, samples, own), found)


@pytest.mark.parametrize("rule", ["voltage", "surrogate"])
def test_scores_against_the_neutral_context_choose_the_nearest_context(
    rule,
):
    x, labels = pictures()
    torch.manual_seed(0)
    network = mlp((7,), 6, hidden=(9, 8), rule=rule, predict="neutral").eval()
    network.learn(x, labels)
    *_, last = (s for s in network.stages(x) if s.name != "readout")
    shown = last.response.representation
    nearest = DotProductLoss().scores(shown[:12], shown[12:])
    mean = DotProductLoss().scores(shown[:12], shown[12:].mean(0, keepdim=True))
    torch.testing.assert_close(network(x), nearest - mean)
    assert torch.equal(network(x).argmax(1), nearest.argmax(1))
    torch.testing.assert_close(network.learn(x, labels).scores, network(x))
    assert (network(x) > 0).any()
    assert (network(x) < 0).any()


@pytest.mark.parametrize("predict", ["subset", "neutral", "both", "vote"])
def test_several_labels_have_no_such_prediction(predict):
    with pytest.raises(SigpropError, match=f"by {predict}"):
        mlp((7,), 6, signal=multi_label_context, loss=BinaryLoss(), predict=predict)


@pytest.mark.parametrize("rule", ["local-readout", "backpropagation"])
def test_a_rule_without_contexts_has_no_neutral_one(rule):
    with pytest.raises(SigpropError, match="by neutral"):
        mlp((7,), 6, rule=rule, predict="neutral")


@pytest.mark.parametrize("predict", ["context", "subset"])
def test_a_rule_that_needs_the_readout_refuses_a_prediction_by_contexts(predict):
    network = mlp((7,), 6, rule="feedback-alignment", predict=predict)
    with pytest.raises(SigpropError, match=predict):
        network.learn(*pictures())
