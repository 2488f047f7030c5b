"""Batches for a GPU equal those of the CPU, wherever they are made."""

import threading
from itertools import islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sigprop_snn.data import Augment, Data, Source, Split, feeding, load, prepare
from sigprop_snn.data.feeding import AHEAD, BatchesAhead, MovedBatches, ahead, can_be_moved, feed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pictures(count=50, **settings):
    random = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 8, 8), generator=random, dtype=torch.uint8)
    split = Split.of(x, torch.arange(count) % 3)
    source = Source("drawn", split, split, ("a", "b", "c"), colour=True)
    return prepare(source, **{"steps": 4, "batch_size": 16, "seed": 5, "augment": True, **settings})


def recordings(**settings):
    random = torch.Generator().manual_seed(0)
    x = torch.randint(3, (20, 6, 2, 5, 5), generator=random, dtype=torch.uint8)
    split = Split.of(x, torch.arange(20) % 3)
    source = Source("events", split, split, ("a", "b", "c"), timed=True)
    return prepare(source, **{"steps": 6, "batch_size": 8, "augment": True, **settings})


def assert_equal_batches(found, expected):
    for epoch in (0, 3):
        found.set_epoch(epoch)
        expected.set_epoch(epoch)
        pairs = list(zip(found.with_lengths(), expected.with_lengths(), strict=True))
        assert len(pairs) == len(found) == len(expected)
        for one, other in pairs:
            for a, b in zip(one, other, strict=True):
                assert a.dtype == b.dtype and torch.equal(a, b)
            assert one[0].stride() == other[0].stride()


@pytest.mark.parametrize("make", [pictures, recordings])
@pytest.mark.parametrize("augment", [True, False, Augment(rotate=20, scale=0.2, shear=0.1)])
def test_batches_made_from_moved_samples_are_those_of_the_split(make, augment):
    train = make(augment=augment).train
    assert can_be_moved(train)
    assert_equal_batches(MovedBatches(train, CPU), make(augment=augment).train)


@pytest.mark.parametrize("encoding", ["direct", "latency"])
def test_batches_made_ahead_are_those_of_the_split(encoding):
    train = pictures(encoding=encoding).train
    assert_equal_batches(BatchesAhead(train), pictures(encoding=encoding).train)


def test_only_samples_in_memory_as_current_or_frames_are_moved():
    assert not can_be_moved(pictures(encoding="rate").train)
    assert not can_be_moved(pictures(encoding="latency").train)
    assert not can_be_moved(recordings(augment=Augment(drop=0.1)).train)
    train = pictures().train
    object.__setattr__(train.split, "sample_bytes", 10)
    assert not can_be_moved(train)


def test_other_devices_and_loaders_keep_their_batches():
    train = pictures().train
    assert feed(train, CPU) is train
    batches = [(torch.rand(4, 2, 3), torch.tensor([0, 1]))]
    loader = Data.from_loaders(batches, batches).train
    assert feed(loader, CUDA) is loader


def test_a_gpu_gets_moved_samples_if_they_fit_and_batches_made_ahead_otherwise(monkeypatch):
    monkeypatch.setattr(feeding, "MovedBatches", lambda batches, device: (batches, device))
    size = 50 * 3 * 8 * 8
    monkeypatch.setattr(feeding, "_free_bytes", lambda device: 4 * size)
    train = pictures().train
    assert feed(train, CUDA) == (train, CUDA)
    monkeypatch.setattr(feeding, "_free_bytes", lambda device: 4 * size - 1)
    assert isinstance(feed(train, CUDA), BatchesAhead)
    by_rate = pictures(encoding="rate", augment=False).train
    assert feed(by_rate, CUDA) is by_rate


def test_another_thread_is_a_few_items_ahead():
    made, threads = [], set()

    def items():
        for number in range(20):
            made.append(number)
            threads.add(threading.get_ident())
            yield number

    taken = ahead(items(), AHEAD)
    assert list(islice(taken, 5)) == [0, 1, 2, 3, 4]
    taken.close()
    assert 5 <= len(made) <= 5 + AHEAD
    assert threading.get_ident() not in threads
    assert list(ahead(items(), AHEAD)) == list(range(20))


class NoReads(TorchDispatchMode):
    """Refuse operations for which a program waits for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.masked_select.default,
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [pictures, recordings])
def test_moved_samples_become_batches_without_reading_a_number(make):
    train = MovedBatches(make().train, CPU)
    with NoReads():
        assert len(list(train)) == len(train)
    with pytest.raises(AssertionError), NoReads():
        bool(torch.ones(1))


def test_an_error_in_the_other_thread_comes_at_its_batch():
    def items():
        yield 1
        raise ValueError("a damaged file")

    taken = ahead(items(), AHEAD)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(taken)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("make", [pictures, recordings])
def test_a_gpu_makes_the_batches_of_the_cpu(make):
    moved = feed(make().train, CUDA)
    assert isinstance(moved, MovedBatches)
    for (x, y), (expected, labels) in zip(moved, make().train, strict=True):
        assert x.device.type == y.device.type == "cuda"
        torch.testing.assert_close(x.cpu(), expected)
        assert torch.equal(y.cpu(), labels)


def test_digits_are_moved():
    assert can_be_moved(load("digits", steps=4).train)
