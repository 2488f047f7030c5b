"""The kernels of the local loss against autograd in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons.engines import cosines as in_torch
from sigprop_snn.neurons.engines.cpu.cosines import compare_rectified


def definition(voltage, samples, columns, scale, smoothing):
    voltage = voltage.double().requires_grad_()
    shown = voltage.relu()
    rows, others = shown[:samples], shown[samples:]
    scores = scale * F.cosine_similarity(rows[:, None], others, dim=-1, eps=1e-12)
    loss = F.cross_entropy(scores, columns, label_smoothing=smoothing)
    return scores, loss, *torch.autograd.grad(loss, voltage)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("scale", "smoothing"), [(20.0, 0.0), (3.0, 0.2)])
@pytest.mark.parametrize(
    ("samples", "others", "width"),
    [(1, 1, 1), (7, 10, 16), (130, 3, 63), (64, 101, 64), (50, 10, 130)],
)
def test_the_loss_and_its_gradient_equal_autograd(
    samples, others, width, scale, smoothing, threads
):
    torch.manual_seed(samples)
    voltage, columns = torch.randn(samples + others, width), torch.arange(samples) % others
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = compare_rectified(voltage, samples, columns, scale, smoothing)
    finally:
        torch.set_num_threads(before)
    values = found.scores, found.losses.mean(), found.grad
    expected = definition(voltage, samples, columns, scale, smoothing)
    for one, other in zip(values, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-5)


def test_what_is_not_finite_is_as_in_torch():
    torch.manual_seed(0)
    voltage, columns = torch.randn(9, 20), torch.tensor([0, 1, 2, 0, 1, 2])
    voltage[1, 3], voltage[2, 4] = torch.nan, torch.inf
    voltage[0] = -1.0  # a silent row
    given = voltage, 6, columns, 20.0, 0.1
    for one, other in zip(
        compare_rectified(*given), in_torch.compare_rectified(*given), strict=True
    ):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_large_scores_stay_finite():
    voltage = torch.randn(13, 5, generator=torch.Generator().manual_seed(0)).abs_()
    found = compare_rectified(voltage, 9, torch.arange(9) % 4, 1e4, 0.0)
    assert all(each.isfinite().all() for each in found)
