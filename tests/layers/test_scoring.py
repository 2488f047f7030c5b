"""How answers are counted where targets are shares."""

from __future__ import annotations

import torch

from sigprop_snn.layers.scoring import correct, hits


def test_a_share_is_hit_by_any_of_its_largest():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [2.0, 2.0, 0.0]])
    shares = torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.0, 0.5], [0.2, 0.4, 0.4], [1.0, 0.0, 0.0]])
    assert hits(scores, shares) == 2  # the first and the third; the last is a tie
    assert hits(scores, torch.tensor([0, 1, 2, 0])) == 2


def test_one_value_is_never_counted():
    assert not correct(torch.ones(3, 1), torch.zeros(3, dtype=torch.long)).any()
    assert hits(torch.ones(3, 1), torch.rand(3, 1)) == 0
