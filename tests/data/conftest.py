"""Files in the real formats and folder layouts of the data sets."""

import io
import struct

import h5py
import numpy as np
import pytest
from tonic import datasets
from tonic.io import make_structured_array


def pack_bin(x, y, t, p) -> bytes:
    """Return events in N-MNIST's format: x, y, then one bit of polarity and 23 of time."""
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


def aedat4_bytes(*packets) -> bytes:
    """Return an uncompressed AEDAT 4 recording. Its header and packets are flatbuffers."""
    node = '<attr key="{}" type="string">{}</attr>'.format
    size = '<attr key="{}" type="int">128</attr>'.format
    about = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        + node("compression", "NONE") + node("originalModuleName", "capture")
        + node("originalOutputName", "events") + node("typeDescription", "Array of events.")
        + node("typeIdentifier", "EVTS")
        + '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        + size("sizeX") + size("sizeY") + node("source", "DVS128") + "</node></node></node></dv>"
    ).encode()  # fmt: skip
    # The root offset, the identifier, the offsets of three fields, then their table: its start, the
    # packet index (-1 for none), the compression, the offset of the description.
    head = struct.pack("<I4s5H2x", 20, b"IOHE", 10, 24, 16, 8, 20)
    head += struct.pack("<iIqiI", 12, 0, -1, 0, 4)
    head += struct.pack("<I", len(about)) + about + b"\0"
    head += b"\0" * (-len(head) % 4)
    whole = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(head)) + head
    for x, y, t, p in packets:
        fields = {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"]}
        events = np.zeros(len(x), np.dtype({**fields, "offsets": [0, 8, 10, 12], "itemsize": 16}))
        events["t"], events["x"], events["y"], events["p"] = t, x, y, p
        body = struct.pack("<I4s3H2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(x)) + events.tobytes()
        body = struct.pack("<I", len(body)) + body
        whole += struct.pack("<ii", 0, len(body)) + body
    return whole


def aedat2_bytes(x, y, t, p, chip="DVS128") -> bytes:
    x, y, t, p = (np.asarray(v, dtype=np.int64) for v in (x, y, t, p))
    davis = (345 - x) << 12 | (259 - y) << 22 | p << 11
    address = x << 8 | y << 1 | p if chip == "DVS128" else davis
    head = f"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# AEChip: eu.chips.{chip}\r\n"
    return head.encode() + np.stack([address, t], 1).astype(">u4").tobytes()


def aedat3_bytes(*packets) -> bytes:
    whole = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for x, y, t, p in packets:
        address = x << 17 | y << 2 | p << 1 | 1
        whole += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, len(x), len(x), len(x))
        whole += np.stack([address, t], 1).astype("<u4").tobytes()
    return whole


def npy_bytes(x, y, t, p) -> bytes:
    whole = io.BytesIO()
    np.save(whole, make_structured_array(x, y, t, p))
    return whole.getvalue()


def hdf5_bytes(x, y, t, p, group="", **how) -> bytes:
    whole = io.BytesIO()
    with h5py.File(whole, "w") as content:
        for name, column in zip("xytp", (x, y, t, p), strict=True):
            content.create_dataset(f"{group}/{name}", data=column, **how)
    return whole.getvalue()


def speech_bytes(seconds, units, labels, keys) -> bytes:
    """Return a file of SHD or SSC: rows of different lengths, seconds in half precision."""
    whole = io.BytesIO()
    with h5py.File(whole, "w") as content:
        for name, rows, kind in (("times", seconds, np.float16), ("units", units, np.uint16)):
            entry = content.create_dataset(f"spikes/{name}", len(rows), h5py.vlen_dtype(kind))
            for number, row in enumerate(rows):
                entry[number] = np.asarray(row, kind)
        content["labels"] = np.asarray(labels, np.uint16)
        content["extra/keys"] = np.array([key.encode() for key in keys])
        content["extra/speaker"] = np.zeros(len(labels), np.uint16)
    return whole.getvalue()


@pytest.fixture
def recording():
    """Functions that return the bytes of a recording, by format."""
    return {
        "bin": pack_bin,
        "aedat2": aedat2_bytes,
        "aedat3": lambda *columns: aedat3_bytes(columns),
        "aedat4": lambda *columns: aedat4_bytes(columns),
        "npy": npy_bytes,
        "hdf5": hdf5_bytes,
    }


@pytest.fixture
def write_speech():
    def write(root, name="shd", parts=("train", "test"), classes=20, count=40):
        random = np.random.default_rng(0)
        folder = root / name.upper()
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            seconds = [np.sort(random.random(60 + i)) * 1.3 for i in range(count)]
            seconds[3] = random.permutation(seconds[3])
            units = [random.integers(0, 700, 60 + i) for i in range(count)]
            labels = np.arange(count) % classes
            keys = [f"word {i}" for i in range(classes)]
            body = speech_bytes(seconds, units, labels, keys)
            (folder / f"{name}_{part}.h5").write_bytes(body)
        return folder

    return write
