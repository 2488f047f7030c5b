"""The closed form of the cosines' cross-entropy against autograd in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons.engines.cosines import cosine_cross_entropy

SIZES = [(1, 1, 1), (1, 2, 3), (7, 10, 33), (130, 3, 16), (64, 101, 47)]


def drawn(rows, others, size):
    generator = torch.Generator().manual_seed(rows)
    s, t = (torch.randn(n, size, generator=generator) for n in (rows, others))
    return s, t, torch.randint(others, (rows,), generator=generator)


def definition(rows, others, columns, scale, smoothing):
    s, t = (x.double().requires_grad_() for x in (rows, others))
    scores = scale * F.cosine_similarity(s[:, None], t, dim=-1, eps=1e-12)
    loss = F.cross_entropy(scores, columns, label_smoothing=smoothing)
    return scores, loss, *torch.autograd.grad(loss, (s, t))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("scale", "smoothing"), [(20.0, 0.0), (3.0, 0.2)])
def test_cross_entropy_and_its_gradient_equal_autograd(sizes, scale, smoothing):
    rows, others, columns = drawn(*sizes)
    found = cosine_cross_entropy(rows, others, columns, scale, smoothing)
    expected = definition(rows, others, columns, scale, smoothing)
    values = found.scores, found.losses.mean(), found.grad_rows, found.grad_others
    for one, other in zip(values, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-5)


def test_large_scores_stay_finite():
    rows, others, columns = drawn(9, 4, 5)
    found = cosine_cross_entropy(rows, others, columns, 1e4, 0.0)
    expected = definition(rows, others, columns, 1e4, 0.0)
    torch.testing.assert_close(found.losses.mean().double(), expected[1], rtol=1e-4, atol=0.0)
    assert torch.isfinite(found.grad_rows).all()


def test_a_row_of_zeros_scores_zero_and_adds_nothing_to_the_gradient_of_the_others():
    rows, others, columns = drawn(6, 4, 11)
    rows[2] = 0.0
    found = cosine_cross_entropy(rows, others, columns, 20.0, 0.0)
    assert not found.scores[2].any()
    assert torch.isfinite(found.grad_rows).all()
    rest = torch.arange(6) != 2
    _, _, _, expected = definition(rows[rest], others, columns[rest], 20.0, 0.0)
    torch.testing.assert_close(found.grad_others.double() * 6 / 5, expected, atol=1e-5, rtol=1e-5)


def test_a_column_out_of_range_makes_the_loss_nan():
    rows, others, _ = drawn(4, 3, 5)
    losses = cosine_cross_entropy(rows, others, torch.tensor([0, 3, -1, 2]), 20.0, 0.0).losses
    assert losses.isnan().tolist() == [False, True, True, False]


def test_rows_need_not_be_contiguous():
    rows, others, columns = drawn(8, 3, 6)
    strided = torch.stack([rows, rows], dim=2)[..., 0]
    assert not strided.is_contiguous()
    one, other = (cosine_cross_entropy(x, others, columns, 20.0, 0.0) for x in (strided, rows))
    assert torch.equal(one.grad_rows, other.grad_rows)
