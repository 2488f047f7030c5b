"""Kernels on several threads, what they refuse, and where numba keeps them."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from sigprop_snn.neurons.engines import compiled as cache
from sigprop_snn.neurons.engines.cpu import threads as room
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel


@jitable
def _affine(value, factor, offset):
    return factor * value + offset


def _count(values, factor, offset, twice, out, first, last):
    for item in range(first, last):
        for axis in range(values.shape[1]):
            out[item, axis] += _affine(values[item, axis], factor, offset)
        if twice:
            out[item, 0] *= np.float32(2.0)


def _fail(out, first, last):
    for item in range(first, last):
        if item == 600:
            raise MemoryError
        out[item] = True


@pytest.fixture(scope="module")
def count():
    return Kernel(_count)


@pytest.fixture(params=["openmp", "python"])
def set_threads(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(room, "_openmp", lambda: None)
    return lambda number: monkeypatch.setattr(torch, "get_num_threads", lambda: number)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize(("items", "smallest"), [(1000, 1), (1000, 70), (3, 9)])
def test_every_item_runs_once_on_any_number_of_threads(count, set_threads, number, items, smallest):
    set_threads(number)
    values = torch.arange(3.0 * items).view(3, items).t()  # not in C order
    out = torch.zeros(items, 3)
    arguments = (values, -0.5, -7, True, out)
    run_kernel(count, arguments, items, min_chunk=smallest)
    expected = -0.5 * values - 7
    expected[:, 0] *= 2
    assert torch.equal(out, expected)


def test_no_items_are_no_work(count, set_threads):
    set_threads(2)
    empty = torch.zeros(0, 3)
    run_kernel(count, (empty, 1.0, 0, False, empty), 0)


@pytest.mark.parametrize(
    ("items", "smallest", "multiple"), [(1, 1, 1), (1000, 1, 1), (500, 70, 64)]
)
def test_chunks_become_smaller_and_cover_all_items(items, smallest, multiple):
    starts = room._chunk_starts(items, 3, smallest)
    sizes = [b - a for a, b in zip(starts, [*starts[1:], items], strict=True)]
    assert starts[0] == 0 and min(sizes) > 0
    assert sizes == sorted(sizes, reverse=True)
    assert all(size % multiple == 0 and size >= smallest for size in sizes[:-1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python's own word
def test_a_kernel_that_ends_early_raises_on_any_thread(set_threads):
    fail = Kernel(_fail)
    for number in (1, 3):
        set_threads(number)
        out = torch.zeros(1000, dtype=torch.bool)
        with pytest.raises(MemoryError, match="kernel _fail"):
            run_kernel(fail, (out,), 1000)
        assert out[:600].all() and not out[600]


def test_a_tensor_on_another_device_is_refused(count):
    with pytest.raises(TypeError, match="meta"):
        run_kernel(count, (torch.zeros(9, 3), 1.0, 0, False, torch.zeros(9, 3, device="meta")), 9)


def test_a_kernel_is_compiled_for_each_type_of_its_arguments(count):
    values, out = torch.ones(4, 2, dtype=torch.int32), torch.zeros(4, 2, dtype=torch.int32)
    run_kernel(count, (values, 3, 1, False, out), 4)
    assert (out == 4).all()


def add_one():
    @Kernel
    def one(out, first, last):
        for item in range(first, last):
            out[item] += np.float32(1.0)

    out = torch.zeros(5)
    run_kernel(one, (out,), 5)
    return out


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(cache.sys, "platform", "linux")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def kept_in(folder: Path) -> bool:
    return any(folder.rglob("*.nbi"))


def test_compiled_kernels_are_kept_in_the_users_cache_and_not_beside_the_source(home):
    package = Path(cache.__file__).parent
    before = set(package.rglob("*.nb*"))
    assert (add_one() == 1).all()
    assert kept_in(home / ".cache" / "sigprop_snn" / "numba")
    assert set(package.rglob("*.nb*")) == before
    assert numba.config.CACHE_DIR == ""


def test_the_cache_folder_follows_the_environment(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache._cache_folder() == str(home / "xdg" / "sigprop_snn" / "numba")
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache._cache_folder() == str(home / "Library" / "Caches" / "sigprop_snn" / "numba")
    monkeypatch.setattr(cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert cache._cache_folder() == str(home / "local" / "sigprop_snn" / "numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(home / "numbas own"))
    add_one()
    assert kept_in(home / "numbas own") and not (home / "local").exists()
    assert str(home / "numbas own") == numba.config.CACHE_DIR


def test_without_a_folder_for_the_cache_kernels_still_compile(home):
    (home / ".cache").write_text("a file, not a folder")
    assert (add_one() == 1).all()
    assert [path.name for path in home.iterdir()] == [".cache"]
    assert numba.config.CACHE_DIR == ""


def test_a_kernel_that_is_kept_is_not_compiled_again(home):
    add_one()
    (data,) = home.rglob("*.nbc")
    written = data.stat().st_mtime_ns
    assert (add_one() == 1).all()
    assert data.stat().st_mtime_ns == written
