"""The cross-entropy of cosines in one kernel, against autograd through its definition."""

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons.kernels import cosine_cross_entropy, cosines, fits_cosines

pytest.importorskip("numba", reason="numba is not installed")

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
def test_scores_loss_and_gradient_are_those_of_the_definition(sizes, scale, smoothing):
    rows, others, columns = drawn(*sizes)
    told = cosine_cross_entropy(rows, others, columns, scale, smoothing)
    expected = definition(rows, others, columns, scale, smoothing)
    found = told.scores, told.losses.mean(), told.of_rows, told.of_others
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-5)


def test_any_number_of_threads_finds_the_same(monkeypatch):
    given = drawn(130, 5, 33)
    monkeypatch.setattr(cosines, "_WORTH_A_THREAD", 1)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(cosine_cross_entropy(*given, 20.0, 0.1))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_large_scores_stay_finite():
    rows, others, columns = drawn(9, 4, 5)
    told = cosine_cross_entropy(rows, others, columns, 1e4, 0.0)
    expected = definition(rows, others, columns, 1e4, 0.0)
    torch.testing.assert_close(told.losses.mean().double(), expected[1], rtol=1e-4, atol=0.0)
    assert torch.isfinite(told.of_rows).all()


def test_what_is_silent_scores_zero_and_turns_nobody():
    rows, others, columns = drawn(6, 4, 11)
    rows[2] = 0.0
    told = cosine_cross_entropy(rows, others, columns, 20.0, 0.0)
    assert not told.scores[2].any()
    assert torch.isfinite(told.of_rows).all()
    others_alone = torch.arange(6) != 2
    _, _, _, expected = definition(rows[others_alone], others, columns[others_alone], 20.0, 0.0)
    torch.testing.assert_close(told.of_others.double() * 6 / 5, expected, atol=1e-5, rtol=1e-5)


def test_a_column_that_is_not_there_makes_the_loss_nan():
    rows, others, _ = drawn(4, 3, 5)
    losses = cosine_cross_entropy(rows, others, torch.tensor([0, 3, -1, 2]), 20.0, 0.0).losses
    assert losses.isnan().tolist() == [False, True, True, False]


def test_rows_that_do_not_lie_in_order():
    rows, others, columns = drawn(8, 3, 6)
    apart = torch.stack([rows, rows], dim=2)[..., 0]
    assert not apart.is_contiguous()
    one, other = (cosine_cross_entropy(x, others, columns, 20.0, 0.0) for x in (apart, rows))
    assert torch.equal(one.of_rows, other.of_rows)


def test_what_it_does_not_take():
    rows, others, columns = drawn(4, 3, 5)
    assert fits_cosines(rows, others, columns)
    assert not fits_cosines(rows.double(), others, columns)
    assert not fits_cosines(rows, others[None], columns)
    assert not fits_cosines(rows[:0], others, columns[:0])
    assert not fits_cosines(rows, others, torch.rand(4, 3))
    assert not fits_cosines(rows, others, columns.int())
    assert not fits_cosines(rows.to("meta"), others, columns)
