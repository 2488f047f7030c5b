from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons.kernels import event_linear, product

SHAPES = [(1, 1, 1), (3, 17, 5), (64, 9, 1025), (700, 33, 210)]


@pytest.fixture(autouse=True)
def by_events_always(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 0)
    monkeypatch.setattr(product, "_DENSEST", 1.0)
    monkeypatch.setattr(product, "_DENSEST_OUTER", 1.0)


def sparse(rows, width, density=0.2, *, counts=False):
    generator = torch.Generator().manual_seed(rows)
    active = (torch.rand(rows, width, generator=generator) < density).float()
    return active * torch.randint(1, 4, active.shape, generator=generator) if counts else active


def weights(columns, width, *, learned=False):
    generator = torch.Generator().manual_seed(columns)
    weight = torch.randn(columns, width, generator=generator)
    return weight.requires_grad_(learned), torch.randn(columns, generator=generator).requires_grad_(
        learned
    )


@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_events_equals_the_dense_product(shape, density):
    rows, width, columns = shape
    x, (w, b) = sparse(rows, width, density, counts=True), weights(columns, width)
    exact = F.linear(x.double(), w.double(), b.double())
    torch.testing.assert_close(event_linear(x, w, b).double(), exact, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        event_linear(x, w).double(), exact - b.double(), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_its_gradients_equal_those_of_the_dense_product(shape):
    rows, width, columns = shape
    x = sparse(rows, width, counts=True).requires_grad_()
    w, b = weights(columns, width, learned=True)
    y = event_linear(x, w, b)
    assert "EventLinear" in type(y.grad_fn).__name__
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad(y, (x, w, b), grad)
    expected = torch.autograd.grad(F.linear(x, w, b), (x, w, b), grad)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


def test_work_shared_among_threads_gives_the_same(monkeypatch):
    x, (w, b) = sparse(700, 33), weights(210, 33)
    g = torch.randn(700, 210, generator=torch.Generator().manual_seed(1))
    alone, alone_outer = event_linear(x, w, b), product._event_outer(g, x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(product, "_ROWS_A_THREAD", 1)
    monkeypatch.setattr(product, "_COLUMNS_A_THREAD", 1)
    assert torch.equal(event_linear(x, w, b), alone)
    assert torch.equal(product._event_outer(g, x), alone_outer)


def test_inputs_whose_memory_is_not_in_order():
    x, (w, b) = sparse(33, 700).t(), weights(21, 33)
    torch.testing.assert_close(event_linear(x, w, b), F.linear(x, w, b), atol=1e-4, rtol=1e-5)


def test_dense_inputs_other_dtypes_and_autocast_take_the_dense_product(monkeypatch):
    monkeypatch.setattr(product, "_DENSEST", 0.3)
    taken = []
    monkeypatch.setattr(product, "_compiled", lambda: taken.append(1))
    (w, b), dense = weights(21, 33), sparse(64, 33, 0.9)
    assert torch.equal(event_linear(dense, w, b), F.linear(dense, w, b))
    x = sparse(64, 33, 0.1)
    doubled = [t.double() for t in (x, w, b)]
    assert torch.equal(event_linear(*doubled), F.linear(*doubled))
    with torch.autocast("cpu", torch.bfloat16):
        assert event_linear(x, w, b).dtype == torch.bfloat16
    folded = x.unflatten(0, (8, 8))
    assert torch.equal(event_linear(folded, w, b), F.linear(folded, w, b))
    assert not taken


def test_small_products_are_left_alone(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 1 << 22)
    x, (w, b) = sparse(64, 33, 0.1), weights(21, 33)
    assert torch.equal(event_linear(x, w, b), F.linear(x, w, b))
