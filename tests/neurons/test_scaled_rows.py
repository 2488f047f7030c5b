import pytest
import torch

from sigprop_snn.neurons.kernels import scale_rows, scaled_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (70, 5, 3, 3), (9, 0)])
def test_rows_are_multiplied_and_compared_before(shape, dtype, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(scaled_rows, "_WORTH_A_THREAD", 1)
    torch.manual_seed(0)
    rows, other, factor = (torch.randn(s, dtype=dtype) for s in (shape, shape, shape[:1]))
    before = rows.clone()
    dots = scale_rows(rows, factor, other)
    torch.testing.assert_close(dots, (before * other).flatten(1).sum(1), atol=1e-5, rtol=1e-5)
    assert torch.equal(rows, before * factor.view(-1, *[1] * (len(shape) - 1)))


def test_rows_that_do_not_lie_in_order_are_changed_where_they_are():
    torch.manual_seed(0)
    whole, other, factor = torch.randn(6, 4), torch.randn(4, 6), torch.randn(4)
    before = whole.clone()
    dots = scale_rows(whole.t(), factor, other)
    torch.testing.assert_close(dots, (before.t() * other).sum(1))
    assert torch.equal(whole, before * factor)


def test_kernels_whose_channels_lie_together_are_changed_where_they_are():
    torch.manual_seed(0)
    rows = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    other, factor, before = torch.randn(4, 3, 2, 2), torch.randn(4), rows.clone()
    dots = scale_rows(rows, factor, other)
    torch.testing.assert_close(dots, (before * other).flatten(1).sum(1))
    assert torch.equal(rows, before * factor.view(4, 1, 1, 1))
