"""The kernels of losses and weight updates against their definitions in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons import (
    LIF,
    ParametricLIF,
    filter_matrix,
    geometric_response,
    impulse_response,
)
from sigprop_snn.neurons.engines.cpu.learning import (
    cosine_cross_entropy,
    scale_rows,
    surrogate_current_gradient,
    surrogate_mean,
    why_not_cosines,
    why_not_rows,
    why_not_surrogate,
)
from sigprop_snn.surrogates import Arctan, FastSigmoid

SIZES = [(1, 1, 1), (1, 2, 3), (7, 10, 33), (130, 3, 16), (64, 101, 47)]


@pytest.fixture
def with_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


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


def test_the_number_of_threads_does_not_change_the_cross_entropy(with_threads):
    arguments = drawn(9000, 5, 33)  # several chunks
    found = []
    for threads in (1, 3):
        with_threads(threads)
        found.append(cosine_cross_entropy(*arguments, 20.0, 0.1))
    assert torch.equal(found[0].grad_rows, found[1].grad_rows)
    assert torch.equal(found[0].losses, found[1].losses)
    torch.testing.assert_close(found[0].grad_others, found[1].grad_others)


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


def test_the_reason_against_the_cosines_names_the_argument():
    rows, others, columns = drawn(4, 3, 5)
    assert why_not_cosines(rows, others, columns) is None
    assert "rows are torch.float64" in why_not_cosines(rows.double(), others, columns)
    assert "[1, 3, 5]" in why_not_cosines(rows, others[None], columns)
    assert "[0, 5]" in why_not_cosines(rows[:0], others, columns[:0])
    assert "[4, 3]" in why_not_cosines(rows, others, torch.rand(4, 3))
    assert "torch.int32" in why_not_cosines(rows, others, columns.int())
    assert "meta" in why_not_cosines(rows.to("meta"), others, columns)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 1, 1100), (2, 3, 5, 4)], ids=str)
def test_the_surrogates_mean_and_its_gradient_equal_autograd(steps, shape):
    neuron = LIF(0.8, 1.5, surrogate=FastSigmoid(3.0), scale_current=True)
    generator = torch.Generator().manual_seed(steps)
    voltage = 3 * torch.randn(steps, *shape, generator=generator)
    grad_mean = torch.randn(shape, generator=generator)
    above = (voltage.double() - 1.5).requires_grad_()
    mean = (0.5 + 1.5 * above / (1 + 3 * above.abs())).mean(0)
    (grad_above,) = torch.autograd.grad(mean, above, grad_mean.double())
    response = impulse_response(neuron, steps)
    grad_current = (filter_matrix(response).t() @ grad_above.flatten(1)).view_as(voltage)
    first, ratio = geometric_response(response)
    layouts = [voltage]
    if voltage.dim() == 5:
        layouts.append(voltage.movedim(2, -1).contiguous().movedim(-1, 2))
    for stored in layouts:
        found = surrogate_mean(neuron, stored)
        torch.testing.assert_close(found.double(), mean.detach(), atol=1e-6, rtol=1e-5)
        found = surrogate_current_gradient(neuron, stored, grad_mean, first, ratio)
        torch.testing.assert_close(found.double(), grad_current, atol=1e-5, rtol=1e-5)


def test_huge_voltages_stay_finite():
    huge = torch.tensor([[3e38, -3e38]])
    neuron = LIF(surrogate=FastSigmoid(100.0))
    assert surrogate_mean(neuron, huge).tolist() == [1.0, 0.0]
    assert torch.isfinite(surrogate_current_gradient(neuron, huge, torch.ones(2), 1.0, 0.5)).all()


def test_the_reason_against_a_surrogate_names_it():
    voltage = torch.zeros(1, 1)
    learned = torch.nn.Parameter(torch.tensor(2.0))
    assert why_not_surrogate(LIF(), voltage) is None
    assert "threshold" in why_not_surrogate(ParametricLIF(), voltage)
    assert "Arctan" in why_not_surrogate(LIF(surrogate=Arctan()), voltage)
    assert "slope" in why_not_surrogate(LIF(surrogate=FastSigmoid(learned)), voltage)
    assert "torch.float64" in why_not_surrogate(LIF(), voltage.double())


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (70, 5, 3, 3), (9, 0), (300, 1000)], ids=str)
def test_rows_are_scaled_in_place_after_their_dot_products(shape, with_threads):
    with_threads(3)
    generator = torch.Generator().manual_seed(0)
    rows, other, factor = (
        torch.randn(size, generator=generator) for size in (shape, shape, shape[:1])
    )
    before = rows.clone()
    dots = scale_rows(rows, factor, other)
    expected = (before.double() * other.double()).flatten(1).sum(1)
    torch.testing.assert_close(dots.double(), expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(rows, before * factor.view(-1, *[1] * (len(shape) - 1)))


def test_the_reason_against_rows_names_the_argument():
    rows, factor = torch.zeros(4, 3, 2, 2), torch.zeros(4)
    assert why_not_rows(rows, factor, rows) is None
    assert "torch.float64" in why_not_rows(rows.double(), factor, rows)
    assert "factors" in why_not_rows(rows, factor.double(), rows)
    channels_last = rows.to(memory_format=torch.channels_last)
    assert "contiguous" in why_not_rows(channels_last, factor, rows)
    assert "contiguous" in why_not_rows(rows, factor, channels_last)
