from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons.kernels import (
    event_linear,
    pack,
    panels,
    product,
    rows,
    sharing,
    windows,
)
from sigprop_snn.neurons.kernels.listing import list_windows

ROWS = [(1, 1, 1), (3, 17, 5), (64, 9, 1025), (700, 33, 210)]
STEPS = [
    (1, 3, 5, 7), (3, 2, 9, 32), (4, 1, 1, 1), (5, 3, 17, 33), (9, 20, 70, 100), (50, 2, 40, 64),
]  # fmt: skip


@pytest.fixture(autouse=True)
def by_events_always(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 0)
    monkeypatch.setattr(product, "_DENSEST", 1.0)
    monkeypatch.setattr(product, "_DENSEST_OUTER", 1.0)
    monkeypatch.setattr(product, "_MOST_READ", 1.0)


@pytest.fixture
def taken(monkeypatch):
    """Return the names of the kernels that were asked, as they are asked."""
    names = []
    for name in ("windows_product", "rows_product"):
        kernel = getattr(product, name)
        monkeypatch.setattr(
            product, name, lambda *a, name=name, kernel=kernel: (names.append(name), kernel(*a))[1]
        )
    return names


def sparse(*shape, density=0.2, counts=False):
    generator = torch.Generator().manual_seed(shape[0])
    active = (torch.rand(shape, generator=generator) < density).float()
    return active * torch.randint(1, 4, shape, generator=generator) if counts else active


def listed(x):
    return list_windows(pack(x))


def weights(columns, width, *, learned=False):
    generator = torch.Generator().manual_seed(columns)
    weight = torch.randn(columns, width, generator=generator)
    bias = torch.randn(columns, generator=generator)
    return weight.requires_grad_(learned), bias.requires_grad_(learned)


def assert_equal_to_dense(x, w, b):
    exact = F.linear(x.double(), w.double(), b.double())
    close = {"atol": 1e-4, "rtol": 1e-5}
    torch.testing.assert_close(event_linear(x, w, b).double(), exact, **close)
    torch.testing.assert_close(event_linear(x, w).double(), exact - b.double(), **close)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("shape", STEPS, ids=str)
def test_spikes_by_windows_equal_the_dense_product(shape, density, taken):
    *steps, width, columns = shape
    assert_equal_to_dense(sparse(*steps, width, density=density), *weights(columns, width))
    assert taken == ["windows_product"] * 2


@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_counts_by_rows_equal_the_dense_product(shape, density, taken):
    number, width, columns = shape
    x = sparse(number, width, density=density, counts=True)
    x[0, 0] = 2
    assert_equal_to_dense(x, *weights(columns, width))
    assert taken == ["rows_product"] * 2


def test_every_pattern_of_a_window_by_hand():
    # Neuron p fires at the steps whose bits p has; its weight is 2^p, so that sums tell who came.
    x = torch.tensor([[[float(p >> step & 1) for p in range(16)]] for step in range(4)])
    weight = torch.tensor([[2.0**p for p in range(16)]])
    currents = event_linear(x, weight).flatten().tolist()
    assert currents == [0xAAAA, 0xCCCC, 0xF0F0, 0xFF00]
    grad = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(4, 1, 1)
    expected = [float(f"{p:04b}") for p in range(16)]
    assert windows.windows_outer(listed(x), grad).flatten().tolist() == expected


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("shape", STEPS, ids=str)
def test_their_gradients_equal_those_of_the_dense_product(shape, counts):
    *steps, width, columns = shape
    x = sparse(*steps, width, counts=counts).requires_grad_()
    w, b = weights(columns, width, learned=True)
    y = event_linear(x, w, b)
    assert "EventLinear" in type(y.grad_fn).__name__
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad(y, (x, w, b), grad)
    expected = torch.autograd.grad(F.linear(x, w, b), (x, w, b), grad)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("openmp", [True, False])
def test_work_shared_among_threads_gives_the_same(monkeypatch, openmp):
    w, b = weights(210, 33)
    x, counts = sparse(7, 100, 33), sparse(700, 33, counts=True)
    grad = torch.randn(7, 100, 210, generator=torch.Generator().manual_seed(1))

    def everything():
        return [
            event_linear(x, w, b),
            windows.windows_outer(listed(x), grad),
            event_linear(counts, w, b),
            rows.rows_outer(counts, grad.flatten(0, 1)),
        ]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = everything()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(windows, "_SAMPLES", 2)
    for name in ("_ROWS_A_THREAD", "_COLUMNS_A_THREAD"):
        monkeypatch.setattr(rows, name, 1)
    if not openmp:
        monkeypatch.setattr(sharing, "_openmp", lambda: None)
    for one, other in zip(everything(), alone, strict=True):
        assert torch.equal(one, other)


def test_inputs_whose_memory_is_not_in_order():
    w, b = weights(21, 33)
    for x in (sparse(33, 700).t(), sparse(9, 33, 6).transpose(1, 2)):
        torch.testing.assert_close(event_linear(x, w, b), F.linear(x, w, b), atol=1e-4, rtol=1e-5)


def test_spikes_that_never_rest_are_still_read_once_a_window(monkeypatch, taken):
    monkeypatch.setattr(product, "_DENSEST", 0.3)
    event_linear(torch.ones(8, 4, 9), *weights(21, 9))
    assert taken == ["windows_product"]
    event_linear(torch.ones(3, 4, 9), *weights(21, 9))
    assert taken == ["windows_product"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.5])
def test_a_single_other_number_is_never_taken_for_a_spike(value):
    x, (w, b) = sparse(6, 5, 33), weights(21, 33)
    x[5, 4, 32] = value
    torch.testing.assert_close(
        event_linear(x, w, b), F.linear(x, w, b), atol=1e-4, rtol=1e-5, equal_nan=True
    )


def test_dense_inputs_and_other_dtypes_take_the_dense_product(monkeypatch, taken):
    monkeypatch.setattr(product, "_DENSEST", 0.3)
    (w, b), dense = weights(21, 33), sparse(64, 33, density=0.9)
    assert torch.equal(event_linear(dense, w, b), F.linear(dense, w, b))
    x = sparse(64, 33, density=0.1)
    doubled = [t.double() for t in (x, w, b)]
    assert torch.equal(event_linear(*doubled), F.linear(*doubled))
    folded = x.view(2, 2, 16, 33)
    assert torch.equal(event_linear(folded, w, b), F.linear(folded, w, b))
    assert not taken


@pytest.mark.parametrize("float16", [True, False])
def test_autocast_sums_finer_than_it_rounds(monkeypatch, taken, float16):
    monkeypatch.setattr(panels, "adds_float16", lambda: float16)
    x, (w, b) = sparse(6, 5, 33), weights(210, 33, learned=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = event_linear(x, w, b)
        assert torch.equal(event_linear(x.bfloat16(), w, b), y)
    assert taken == ["windows_product"] * 2
    exact = F.linear(x.double(), w.double(), b.double())
    assert y.dtype == torch.bfloat16
    # Half a step of bfloat16 for the result, and as much of float16 for each of some ten sums.
    sums = F.linear(x.double(), w.double().abs())
    assert bool(((y - exact).abs() <= 2**-9 * exact.abs() + 2**-11 * 8 * sums + 1e-6).all())
    (found,) = torch.autograd.grad(y.float().sum(), w)
    torch.testing.assert_close(found, x.sum((0, 1)).expand(210, -1))


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e4, 1e30])
def test_float16_sums_of_weights_of_any_size(monkeypatch, size):
    monkeypatch.setattr(panels, "adds_float16", lambda: True)
    x, (w, _) = sparse(6, 5, 500, density=0.5), weights(70, 500)
    w = w.abs() * size  # nothing cancels: every sum is as large as it can be
    y = windows.windows_product(listed(x), w, None, torch.bfloat16).double()
    torch.testing.assert_close(y, F.linear(x.double(), w.double()), rtol=2**-7, atol=0)
    silent = windows.windows_product(listed(x), 0 * w, None, torch.bfloat16)
    assert not silent.any()


@pytest.mark.parametrize(("most", "kernels"), [(0.11, 1), (0.09, 0)])
def test_a_gradient_touched_too_often_is_made_densely(monkeypatch, most, kernels):
    x = torch.zeros(8, 3, 10)
    x[:4, :, 0], x[5, :, :5] = 1, 1
    # One of ten neurons in every first window and five in every second, both made even: 8 of 20,
    # over four steps.
    assert listed(x).read() == pytest.approx(8 / 20 / 4)
    taken = []
    kernel = windows.windows_outer
    monkeypatch.setattr(product, "_MOST_READ", most)
    monkeypatch.setattr(product, "windows_outer", lambda *a: (taken.append(1), kernel(*a))[1])
    grad = torch.randn(8, 3, 40, generator=torch.Generator().manual_seed(0))
    exact = grad.flatten(0, 1).t() @ x.flatten(0, 1)
    torch.testing.assert_close(product.event_outer(x, grad), exact, atol=1e-5, rtol=1e-5)
    assert len(taken) == kernels


def test_rounding_to_bfloat16_is_torchs_own(monkeypatch):
    monkeypatch.setattr(panels, "adds_float16", lambda: False)
    drawn = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    # Above and below the middle between two bfloat16, and on it, where the even one is nearest.
    upper = drawn.view(torch.int32) & ~0xFFFF
    lower = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x8000, 0x8000], dtype=torch.int32)
    w = (upper | lower).view(torch.float32)
    each = listed(torch.eye(8).view(8, 1, 8))
    half = windows.windows_product(each, w, None, torch.bfloat16)
    assert torch.equal(half[:, 0].t(), w.bfloat16())


def test_small_products_are_left_alone(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 1 << 27)
    x, (w, b) = sparse(64, 33, density=0.1), weights(21, 33)
    assert torch.equal(event_linear(x, w, b), F.linear(x, w, b))
