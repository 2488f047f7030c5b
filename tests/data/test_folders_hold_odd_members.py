"""One odd file among sound ones changes nothing for the others, or an error names it."""

from __future__ import annotations

import re
import warnings
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sigprop_snn.data import Request
from sigprop_snn.data.sets.eventfolder import open_eventfolder
from sigprop_snn.data.sets.imagefolder import open_imagefolder
from sigprop_snn.errors import SigpropError

SPLITS = [(split, name) for split in ("train", "test") for name in ("left", "right")]


def columns(seed, side=20, duration=50_000, count=120):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, side, (2, count))
    return x, y, np.sort(random.integers(0, duration, count)), random.integers(0, 2, count)


def array(x, y, t, p):
    kinds = [
        (name, np.asarray(value).dtype) for name, value in zip("xytp", (x, y, t, p), strict=True)
    ]
    events = np.empty(len(x), kinds)
    for name, value in zip("xytp", (x, y, t, p), strict=True):
        events[name] = value
    return events


def npy(content):
    whole = BytesIO()
    np.save(whole, content, allow_pickle=True)
    return whole.getvalue()


def picture(seed, size=(12, 10), mode="RGB", kind="PNG", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    whole = BytesIO()
    Image.fromarray(pixels).convert(mode).save(whole, kind, **options)
    return whole.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def odd_events(x, y, t, p):
    lines = b"".join(b"%d,%d,%d,%d\n" % row for row in zip(x, y, t, p, strict=True))
    late = np.append(t[:-1], t[-1] + 2**31)
    return {
        "late event.npy": npy(array(x, y, late, p)),
        "24 bits more.npy": npy(array(x, y, np.append(t[:-1], t[-1] + 2**24), p)),
        "wraps.npy": npy(array(x, y, (t + 2**24 - 20_000) % 2**24, p)),
        "folded.npy": npy(array(x, y, t * 4 % 2**16, p)),
        "signed.npy": npy(array(x, y, (t + 2**31 - 9_000).astype(np.uint32).view(np.int32), p)),
        "nanoseconds.npy": npy(array(x, y, t * 1000, p)),
        "milliseconds.npy": npy(array(x, y, t // 1000, p)),
        "seconds.npy": npy(array(x, y, t / 1e6, p)),
        "long ago.npy": npy(array(x, y, t + 10**15, p)),
        "hot pixel.npy": npy(array(np.append(x[:-1], 999), y, t, p)),
        "large sensor.npy": npy(array(x * 9, y * 9, t, p)),
        "negative.npy": npy(array(x - 9, y, t, p)),
        "three polarities.npy": npy(array(x, y, t, p + 1)),
        "empty.npy": npy(array(x, y, t, p)[:0]),
        "table.npy": npy(np.stack([t, x, y, p], 1)),
        "objects.npy": npy(np.array([{}], dtype=object)),
        "cut.npy": npy(array(x, y, t, p))[:300],
        "nothing.npy": b"",
        "zipped.npz": npy(array(x, y, t, p)),
        "names.csv": b"x,y,t,p\n" + lines,
        "no names.csv": lines,
        "notes.txt": b"left hand, second try\n",
        "labels.csv": b"file,label\n0.npy,left\n",
        "damaged.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 99,
        "damaged.aedat": b"#!AER-DAT2.0\r\n" + b"\0" * 13,
        "cut.raw": b"% evt 3.0\n% end\n" + b"\0" * 7,
        "matlab.dat": b"MATLAB 5.0" + b"\0" * 99,
        ".hidden.npy": npy(array(x * 9, y, late, p)),
        ".ipynb_checkpoints/0-checkpoint.npy": npy(array(x * 9, y, late, p)),
        "Thumbs.db": b"\0" * 9,
    }


def odd_pictures(seed):
    grey16 = Image.fromarray(np.full((10, 12), 40_000, np.uint16))
    tiff, floats = BytesIO(), BytesIO()
    grey16.save(tiff, "TIFF")
    Image.fromarray(np.full((10, 12), 0.5, np.float32)).save(floats, "TIFF")
    return {
        **{f"{mode}.png": picture(seed, mode=mode) for mode in ("1", "L", "P", "LA", "RGBA")},
        **{f"{mode}.tif": picture(seed, mode=mode, kind="TIFF") for mode in ("CMYK", "YCbCr")},
        "clear.png": picture(seed, mode="P", transparency=0),
        "deep.tif": tiff.getvalue(),
        "floats.tif": floats.getvalue(),
        "large.png": picture(seed, size=(300, 200)),
        "small.jpg": picture(seed, size=(3, 2), kind="JPEG"),
        "turned.jpg": picture(seed, size=(10, 12), kind="JPEG", exif=exif(6)),
        "cut.png": picture(seed)[:200],
        "empty.png": b"",
        "text.jpg": b"no picture",
        "moving.gif": picture(seed, kind="GIF"),
        "notes.txt": b"left",
        ".hidden.png": picture(seed, size=(99, 5)),
        ".ipynb_checkpoints/a-checkpoint.png": picture(seed, size=(99, 5)),
    }


EVENT_KINDS = sorted(odd_events(*columns(0)))
PICTURE_KINDS = sorted(odd_pictures(0))


def tensors(root, opener):
    """Return the tensor of each sample by its file, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = opener(Request(root=root, steps=4))
        found = {}
        for split in (source.train, source.test):
            x = split.read(torch.arange(len(split.y)))
            found.update(zip(split.files, x, strict=True))
    return found, " ".join(str(warning.message) for warning in caught)


@pytest.fixture(scope="module")
def event_folder(tmp_path_factory):
    """A folder of sound recordings and their tensors."""
    root = tmp_path_factory.mktemp("events")
    return write(root, lambda number: (f"sound {number}.npy", npy(array(*columns(number)))))


@pytest.fixture(scope="module")
def picture_folder(tmp_path_factory):
    """A folder of sound pictures and their tensors."""
    root = tmp_path_factory.mktemp("pictures")
    return write(root, lambda number: (f"sound {number}.png", picture(number)))


def write(root, sound):
    for number, (split, name) in enumerate(SPLITS * 3):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        file, body = sound(number)
        (root / split / name / file).write_bytes(body)
    opener = open_eventfolder if file.endswith(".npy") else open_imagefolder
    return root, opener, tensors(root, opener)[0]


def check(folder, odd, content, place):
    """Compare the sound files of a folder without and with one odd file."""
    root, opener, expected = folder
    added = root.joinpath(*place, odd)
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(content)
    try:
        found, warned = tensors(root, opener)
    except SigpropError as error:
        assert str(added) in str(error)
        assert "expected" in str(error)
        return
    finally:
        added.unlink()
    for file, values in expected.items():
        assert torch.equal(found[file], values), file
    hidden = any(part.startswith(".") for part in odd.split("/"))
    assert (added in found) != (hidden or "left out" in warned)


@settings(max_examples=100, deadline=None)
@given(odd=st.sampled_from(EVENT_KINDS), place=st.sampled_from(SPLITS), seed=st.integers(100, 199))
def test_an_odd_recording_changes_no_other(event_folder, odd, place, seed):
    check(event_folder, odd, odd_events(*columns(seed))[odd], place)


@settings(max_examples=60, deadline=None)
@given(
    odd=st.sampled_from(PICTURE_KINDS), place=st.sampled_from(SPLITS), seed=st.integers(100, 199)
)
def test_an_odd_picture_changes_no_other(picture_folder, odd, place, seed):
    check(picture_folder, odd, odd_pictures(seed)[odd], place)


@pytest.mark.parametrize("odd", ["late event.npy", "hot pixel.npy", "large sensor.npy"])
def test_a_recording_that_would_decide_a_size_for_all_is_refused(event_folder, odd):
    root = event_folder[0]
    file = root / "train" / "left" / odd
    file.write_bytes(odd_events(*columns(50))[odd])
    try:
        with pytest.raises(SigpropError, match=re.escape(odd)):
            open_eventfolder(Request(root=root, steps=4))
    finally:
        file.unlink()
