"""Files in the real layout of data sets, as the tests write them."""

import numpy as np
import pytest
from tonic import datasets


def pack_bin(x, y, t, p) -> bytes:
    """Events in N-MNIST's own bytes: x, y, then one bit of polarity and 23 of time."""
    x, y, t, p = (np.asarray(v, dtype=np.int64) for v in (x, y, t, p))
    columns = (x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255)
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def draw_events(count: int, seed: int, side: int = 34, duration: int = 310_000):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, side, (2, count))
    return x, y, np.sort(random.integers(0, duration, count)), random.integers(0, 2, count)


@pytest.fixture
def pack():
    return pack_bin


@pytest.fixture
def draw():
    return draw_events


@pytest.fixture
def write_nmnist():
    def write(root, train=3, test=1):
        for half, count in (("Train", train), ("Test", test)):
            for digit in range(10):
                folder = root / "NMNIST" / half / str(digit)
                folder.mkdir(parents=True)
                for i in range(count):
                    seed = len(half) * 1000 + digit * 10 + i
                    body = pack_bin(*draw_events(500 + digit, seed))
                    folder.joinpath(f"{i:05}.bin").write_bytes(body)
        return root / "NMNIST"

    return write


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a download was started")

    monkeypatch.setattr("tonic.dataset.Dataset.download", refuse)
    monkeypatch.setattr(datasets.POKERDVS, "_copy_and_extract_local_data", refuse)
