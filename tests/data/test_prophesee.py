"""Recordings of Prophesee's cameras, written here by the description of the formats."""

from __future__ import annotations

import numpy as np
import pytest

from sigprop_snn.data import EventFileError, read_events


def dat(t, x, y, p):
    words = np.zeros((len(t), 2), "<u4")
    words[:, 0] = np.asarray(t) % 2**32
    words[:, 1] = np.asarray(x) | np.asarray(y) << 14 | np.asarray(p) << 28
    return b"% Data file containing CD events.\n% Version 2\n" + bytes([12, 8]) + words.tobytes()


def evt2(t, x, y, p):
    words, high = [0xA << 28], None  # a trigger before the first time
    for time, column, row, on in zip(t, x, y, p, strict=True):
        if time >> 6 != high:
            high = time >> 6
            words.append(0x8 << 28 | high & 0xFFFFFFF)
        words.append(on << 28 | (time & 63) << 22 | column << 11 | row)
    return b"% Date 2024-01-01\n% evt 2.0\n% end\n" + np.array(words, "<u4").tobytes()


def evt3(t, x, y, p):
    words, high, low, line = [0x3 << 12 | 5, 0x4 << 12 | 7], None, None, None
    for time, column, row, on in zip(t, x, y, p, strict=True):
        if time >> 12 != high:
            high = time >> 12
            words.append(0x8 << 12 | high & 0xFFF)
        if time & 0xFFF != low:
            low = time & 0xFFF
            words.append(0x6 << 12 | low)
        if row != line:
            line = row
            words.append(line)
        words.append(0x2 << 12 | on << 11 | column)
    head = b"% camera_integrator_name Prophesee\n% format EVT3;height=720;width=1280\n% end\n"
    return head + np.array(words, "<u2").tobytes()


WRITERS = {"dat": (dat, ".dat"), "evt2": (evt2, ".raw"), "evt3": (evt3, ".raw")}


def draw(start, duration=3 * 10**7, count=500):
    random = np.random.default_rng(3)
    t = np.sort(random.integers(0, duration, count)) + start
    x, y, p = (random.integers(0, most, count) for most in (1280, 720, 2))
    return [column.tolist() for column in (t, x, y, p)]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "start",
    [0, 2**24 - 10**7, 2**32 - 10**7, 2**34 - 10**7],
    ids=["start", "24 bits", "32 bits", "34 bits"],
)
def test_recordings_are_read_and_clocks_continued(tmp_path, kind, start):
    write, suffix = WRITERS[kind]
    t, x, y, p = draw(start)
    file = tmp_path / f"a{suffix}"
    file.write_bytes(write(t, x, y, p))
    events = read_events(file)
    for name, column in zip("xyp", (x, y, p), strict=True):
        assert events[name].tolist() == column, name
    assert np.array_equal(np.diff(events["t"]), np.diff(t))


@pytest.mark.parametrize("kind", ["dat", "evt2"])
def test_expelliarmus_reads_the_same(tmp_path, kind):
    expelliarmus = pytest.importorskip("expelliarmus")
    write, suffix = WRITERS[kind]
    file = tmp_path / f"a{suffix}"
    file.write_bytes(write(*draw(10**6)))
    expected = expelliarmus.Wizard(encoding=kind).read(file)
    events = read_events(file)
    for name in "xytp":
        assert np.array_equal(events[name], expected[name]), name


def test_vectors_of_evt_3_are_unpacked(tmp_path):
    words = [
        0x8 << 12 | 1, 0x6 << 12 | 2, 0x0 << 12 | 33,  # time 4098, row 33
        0x3 << 12 | 1 << 11 | 100, 0x4 << 12 | 0b100000000101, 0x4 << 12 | 1,
        0x5 << 12 | 0b10000001,
        0x2 << 12 | 7,
        0x6 << 12 | 9, 0x3 << 12 | 50, 0x5 << 12 | 0xF02,  # bits above the eighth don't count
    ]  # fmt: skip
    file = tmp_path / "a.raw"
    file.write_bytes(b"% evt 3.0\n% end\n" + np.array(words, "<u2").tobytes())
    events = read_events(file)
    assert events["x"].tolist() == [100, 102, 111, 112, 124, 131, 7, 51]
    assert events["p"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert events["t"].tolist() == [4098] * 7 + [4105]
    assert set(events["y"].tolist()) == {33}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.raw", b"% evt 4.0\n% end\n" + b"\0" * 8, "the format EVT 4.0"),
        ("a.raw", b"% format EVT21;height=1\n% end\n" + b"\0" * 8, "names no format|EVT 2.1"),
        ("a.raw", b"RIFF" + b"\0" * 8, "names no format in its header"),
        ("a.raw", b"% evt 2.0\n% end\n" + b"\0" * 7, "7 bytes after its header.* multiple of 4"),
        ("a.raw", b"% evt 3.0\n% end\n" + b"\0" * 8, "contains no event"),
        ("a.dat", b"MATLAB" + b"\0" * 8, "header of 0 bytes"),
        ("a.dat", b"% Version 2\n" + bytes([14, 8]), r"b'\\x0e\\x08'"),
        ("a.dat", b"% Version 2\n" + bytes([12, 8]) + b"\0" * 12, "multiple of 8"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EventFileError, match=fault):
        read_events(tmp_path / name)
