from __future__ import annotations

import importlib.util
import io
import pickle
import struct
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigprop_snn.data import EventFileError, read_events
from sigprop_snn.data.events.formats import READERS
from sigprop_snn.errors import SigpropError

SUFFIX = {
    "bin": ".bin",
    "aedat2": ".aedat",
    "aedat3": ".aedat",
    "aedat4": ".aedat4",
    "npy": ".npy",
    "hdf5": ".h5",
}
needs_aedat = pytest.mark.skipif(
    importlib.util.find_spec("aedat") is None, reason="the package aedat is not installed"
)
FORMATS = [pytest.param(f, marks=needs_aedat) if f == "aedat4" else f for f in SUFFIX]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_unchanged(tmp_path, recording, draw, kind):
    columns = draw(400, 0, side=128)
    file = tmp_path / f"a{SUFFIX[kind]}"
    file.write_bytes(recording[kind](*columns))
    events = read_events(file)
    assert events.dtype.names == ("x", "y", "t", "p")
    for name, column in zip("xytp", columns, strict=True):
        assert np.array_equal(events[name], column), name


def test_a_davis346_has_other_addresses_than_a_dvs128(tmp_path, recording):
    columns = ([0, 345, 3], [259, 0, 4], [1, 2, 3], [0, 1, 1])
    file = tmp_path / "a.aedat"
    file.write_bytes(recording["aedat2"](*columns, chip="Davis346"))
    events = read_events(file)
    for name, column in zip("xytp", columns, strict=True):
        assert events[name].tolist() == column
    file.write_bytes(recording["aedat2"](*columns, chip="ATIS304"))
    with pytest.raises(EventFileError, match=r"eu\.chips\.ATIS304; expected a DVS"):
        read_events(file)


@pytest.mark.parametrize(
    "layout", [{"group": "events"}, {"compression": "gzip", "chunks": True}, {"shuffle": True}]
)
def test_hdf5_groups_compression_and_filters_are_read(tmp_path, recording, draw, layout):
    columns = draw(300, 1)
    file = tmp_path / "a.hdf5"
    file.write_bytes(recording["hdf5"](*columns, **layout))
    assert np.array_equal(read_events(file)["t"], columns[2])


@pytest.mark.parametrize(
    ("code", "name", "cure"),
    [(32001, "Blosc", "pip install hdf5plugin"), (36559, "Prophesee's ECF", r"\.raw file")],
)
def test_a_compression_of_hdf5_that_is_not_installed_is_named(tmp_path, code, name, cure):
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as content:
        for column in "xytp":
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk((8,))
            settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 8))
            space = h5py.h5s.create_simple((8,))
            made = h5py.h5d.create(
                content.id, column.encode(), h5py.h5t.NATIVE_INT64, space, settings
            )
            made.write_direct_chunk((0,), b"\0" * 16, filter_mask=0)
    with pytest.raises(EventFileError, match=rf"/x compressed by {name} .*{code}.*{cure}"):
        read_events(file)


def test_a_structured_data_set_of_hdf5_is_read(tmp_path, draw):
    from tonic.io import make_structured_array

    events = make_structured_array(*draw(50, 2))
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["events"] = events
    assert np.array_equal(read_events(tmp_path / "a.h5"), events)


def save(file, **columns):
    kinds = [(name, np.asarray(column).dtype) for name, column in columns.items()]
    array = np.empty(len(next(iter(columns.values()))), kinds)
    for name, column in columns.items():
        array[name] = column
    np.save(file, array)
    return file


def test_other_orders_types_and_polarities_are_understood(tmp_path):
    file = save(
        tmp_path / "a.npy",
        t=np.array([30, 10, 20], np.uint64),
        p=np.array([-1, 1, 0], np.int8),
        y=np.array([1.0, 2.0, 3.0]),
        x=np.array([7, 8, 9], np.uint16),
        more=np.zeros(3),
    )
    events = read_events(file)
    assert events.dtype.names == ("x", "y", "t", "p")
    assert events["t"].tolist() == [10, 20, 30]
    assert events["x"].tolist() == [8, 9, 7]
    assert events["p"].tolist() == [1, 0, 0]


ZERO = np.zeros(2, int)


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"x": [1, 4096]}, "event 1 with x=4096; expected a whole number from 0 to 4095"),
        ({"x": np.array([40_000, 0], np.uint16)}, "event 0 with x=40000"),
        ({"y": [-1, 0]}, "event 0 with y=-1"),
        ({"y": [0.5, 0]}, "event 0 with y=0.5; expected a whole number"),
        ({"t": [0.0, np.nan]}, "event 1 with t=nan"),
        ({"t": [0.0, np.inf]}, "event 1 with t=inf"),
        ({"t": np.array([0, 2**63], np.uint64)}, "event 1 with t=9223372036854775808"),
        ({"t": [0, 10**12]}, "lasts 1000000000000 us; expected at most"),
        ({"p": [0, 2]}, "event 1 with p=2; expected a whole number from -1 to 1"),
        ({"x": np.array(["a", "b"])}, "x as <U1"),
        ({"x": np.zeros((2, 3))}, None),
    ],
)
def test_impossible_events_are_refused(tmp_path, columns, fault):
    whole = {"x": ZERO, "y": ZERO, "t": ZERO, "p": ZERO, **columns}
    if fault is None:
        array = np.zeros(2, [("x", int, 3), ("y", int), ("t", int), ("p", int)])
        np.save(tmp_path / "a.npy", array)
        fault = r"x as int64 of shape \(2, 3\)"
    else:
        save(tmp_path / "a.npy", **whole)
    with pytest.raises(EventFileError, match=fault) as caught:
        read_events(tmp_path / "a.npy")
    assert str(tmp_path / "a.npy") in str(caught.value)


def test_a_file_that_is_no_recording_is_named(tmp_path):
    for suffix in READERS:
        file = tmp_path / f"none{suffix}"
        with pytest.raises(EventFileError, match=r"can't be read .*No such file"):
            read_events(file)
        file.write_bytes(b"")
        with pytest.raises(EventFileError, match="is empty"):
            read_events(file)
        with file.open("r+b") as stream:
            stream.truncate(2**40)
        with pytest.raises(EventFileError, match="has 1099511627776 bytes"):
            read_events(file)
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(EventFileError):
            read_events(tmp_path / f"folder{suffix}")
    with pytest.raises(EventFileError, match=r"'\.avi'; expected one of \.bin, \.aedat"):
        read_events(tmp_path / "a.avi")


def test_no_reader_runs_code_from_a_file(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (ran.touch, ())

    code = pickle.dumps(Trap())
    pickle.loads(code)
    assert ran.exists(), "the trap works"
    ran.unlink()
    # A `.bin` file has no magic number: any multiple of five bytes is a recording.
    padding = -len(code) % 5
    files = []
    for suffix in READERS:
        for extra in (padding, padding + 1):
            files.append(tmp_path / f"pickle-{extra - padding}{suffix}")
            files[-1].write_bytes(code + b"\0" * extra)
    files.append(tmp_path / "objects.npy")
    np.save(files[-1], np.array([Trap()], dtype=object), allow_pickle=True)
    files.append(tmp_path / "opaque.h5")
    with h5py.File(files[-1], "w") as content:
        content["events"] = np.void(code)
    for file in files:
        with suppress(SigpropError) if file.name == "pickle-0.bin" else pytest.raises(SigpropError):
            read_events(file)
        assert not ran.exists(), file.name


def test_a_header_that_asks_for_too_much_memory_is_refused(tmp_path):
    file = tmp_path / "a.npy"
    head = io.BytesIO()
    kinds = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
    promise = {"descr": kinds, "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(head, promise)
    file.write_bytes(head.getvalue() + b"\0" * 130)
    with pytest.raises(EventFileError, match="can't be read"):
        read_events(file)
    packet = struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, 2**32 - 1, 1, 1)
    file = tmp_path / "a.aedat"
    file.write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet + b"\0" * 8)
    with pytest.raises(EventFileError, match="ends 34359738352 bytes early"):
        read_events(file)
    # A few kilobytes of compressed zeros that would fill the memory.
    with h5py.File(tmp_path / "a.h5", "w") as content:
        for name in "xytp":
            content.create_dataset(name, (10**12,), "i8", chunks=(10**6,), compression="gzip")
    with pytest.raises(EventFileError, match=r"/x of shape \(1000000000000,\); expected up to"):
        read_events(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"#!AER-DAT1.0\r\n" + b"\0" * 12, "AEDAT version 1; expected version 2 or 3.1"),
        (b"GIF89a" + b"\0" * 12, "b'GIF89a.*; expected #!AER-DAT"),
        (b"#!AER-DAT2.0\r\n" + b"\0" * 12, "12 bytes after its header; expected a multiple of 8"),
        (b"#!AER-DAT2.0\r\n", "1 bytes after its header"),
        (
            b"#!AER-DAT3.1\r\n" + struct.pack("<HHIIIIII", 2, 1, 8, 4, 0, 1, 1, 1) + b"\0" * 8,
            "at byte 14 a packet of type 2 with events of 8 bytes; expected polarity events",
        ),
        (b"#!AER-DAT3.1\r\n" + b"\1\0\1\0", "ends in the packet at byte 14"),
    ],
)
def test_the_error_for_a_damaged_aedat_file_names_the_fault(tmp_path, content, fault):
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(EventFileError, match=fault):
        read_events(tmp_path / "a.aedat")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sigprop_snn.data.events.formats.find_spec", lambda name: None)
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n")
    with pytest.raises(SigpropError, match="needs the package aedat, which is not installed"):
        read_events(tmp_path / "a.aedat4")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_refused_or_gives_fewer_events(tmp_path, recording, draw, kind):
    columns = draw(12, 3, side=128)
    whole = recording[kind](*columns)
    file = tmp_path / f"a{SUFFIX[kind]}"
    for length in range(0, len(whole), max(1, len(whole) // 120)):
        file.write_bytes(whole[:length])
        try:
            events = read_events(file)
        except EventFileError as error:
            assert str(file) in str(error)
        else:
            assert len(events) < 12 or kind in ("hdf5", "aedat4")


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=st.data())
@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_an_error_that_names_the_file_or_harmless(tmp_path, recording, kind, change):
    x, y, t, p = np.arange(8), np.arange(8) + 3, np.arange(8) * 5 + 2, np.arange(8) % 2
    body = bytearray(recording[kind](x, y, t, p))
    for _ in range(change.draw(st.integers(1, 4))):
        place = change.draw(st.integers(0, len(body) - 1))
        new = change.draw(st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b"#"]))
        body[place : place + len(new)] = new
    if change.draw(st.booleans()):
        place = change.draw(st.integers(0, 8 * len(body) - 1))
        body[place // 8] ^= 1 << place % 8
    file = tmp_path / f"a{SUFFIX[kind]}"
    file.write_bytes(body)
    try:
        events = read_events(file)
    except EventFileError as error:
        assert str(file) in str(error)
        assert "expected" in str(error)
    else:
        assert len(events)
        assert (np.diff(events["t"]) >= 0).all()
