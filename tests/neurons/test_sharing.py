import re

import numpy as np
import pytest
import torch

from sigprop_snn.neurons.kernels import sharing
from sigprop_snn.neurons.kernels.sharing import share

numba = pytest.importorskip("numba", reason="numba is not installed")


def _count(values, step, more, twice, out, start, stop):
    for item in range(start, stop):
        for axis in range(values.shape[1]):
            out[item, axis] += step * values[item, axis] + more
        if twice:
            out[item, 0] *= np.float32(2.0)


def _fail(out, start, stop):
    for item in range(start, stop):
        if item == 600:
            raise MemoryError
        out[item] = True


@pytest.fixture(scope="module")
def count():
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    return compiled(
        _count,
        types.Array(types.float32, 2, "A"), types.float32, types.int64, types.boolean,
        types.Array(types.float32, 2, "C"),
    )  # fmt: skip


@pytest.fixture(params=["openmp", "pool"])
def threads(request, monkeypatch):
    if request.param == "pool":
        monkeypatch.setattr(sharing, "_openmp", lambda: None)
    return lambda number: monkeypatch.setattr(torch, "get_num_threads", lambda: number)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize(("items", "worth", "grain"), [(1000, 1, 1), (1000, 70, 64), (3, 9, 1)])
def test_every_item_is_run_once_on_any_number_of_threads(
    count, threads, number, items, worth, grain
):
    threads(number)
    values = torch.arange(3.0 * items).view(3, items).t()  # memory that is not in order
    out = torch.zeros(items, 3)
    share(count, (values, -0.5, -7, True, out), items, worth=worth, grain=grain)
    expected = -0.5 * values - 7
    expected[:, 0] *= 2
    assert torch.equal(out, expected)


def test_no_items_are_no_work(count, threads):
    threads(2)
    share(count, (torch.zeros(0, 3), 1.0, 0, False, torch.zeros(0, 3)), 0, worth=1)


@pytest.mark.parametrize(("items", "worth", "grain"), [(1, 1, 1), (1000, 1, 1), (130, 8, 64)])
def test_parts_get_smaller_and_leave_nothing_out(items, worth, grain):
    starts = sharing._starts(items, 3, worth, grain)
    sizes = [b - a for a, b in zip(starts, [*starts[1:], items], strict=True)]
    assert starts[0] == 0 and min(sizes) > 0
    assert sizes == sorted(sizes, reverse=True)
    assert all(size % grain == 0 and size >= worth for size in sizes[:-1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python's own word
def test_a_kernel_that_ends_early_is_an_error_on_any_thread(threads):
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    kernel = compiled(_fail, types.Array(types.boolean, 1, "C"))
    for number in (1, 3):
        threads(number)
        out = torch.zeros(1000, dtype=torch.bool)
        with pytest.raises(MemoryError, match="kernel fail ended early"):
            share(kernel, (out,), 1000, worth=1)
        assert out[:600].all() and not out[600]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (torch.zeros(9, 3, dtype=torch.float64), "torch.float64, shape [9, 3]"),
        (torch.zeros(9), "shape [9]"),
        (torch.zeros(3, 9).t(), "strides [1, 9]"),
        (torch.zeros(9, 3, device="meta"), "on meta"),
    ],
)
def test_an_array_that_a_kernel_does_not_take_is_refused(count, wrong, says):
    with pytest.raises(TypeError, match=re.escape(says)):
        share(count, (torch.zeros(9, 3), 1.0, 0, False, wrong), 9, worth=1)


def test_kernels_of_one_name_and_other_types_are_kept_apart(count):
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    whole = types.Array(types.int32, 2, "C")
    other = compiled(_count, whole, types.int64, types.int64, types.boolean, whole)
    values, out = torch.ones(4, 2, dtype=torch.int32), torch.zeros(4, 2, dtype=torch.int32)
    share(other, (values, 3, 1, False, out), 4, worth=1)
    assert (out == 4).all()
