"""Recordings of Prophesee's cameras: `.dat`, and `.raw` in the formats EVT 2.0 and EVT 3.0.

They are decoded here because expelliarmus 1.1, the library that tonic uses, reads wrong times from
EVT 3.0. The formats: https://docs.prophesee.ai/stable/data/encoding_formats
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.data.events.recording import EventFileError

Columns = tuple[Any, Any, Any, Any]
"""x, y, t (microseconds) and p of the events of a recording."""

_DAT_TYPES = (0x00, 0x0C)
_DAT_BYTES = 8  # of an event
_OFF, _ON, _HIGH_2 = 0x0, 0x1, 0x8  # types of words in EVT 2.0
_Y, _X, _BASE, _VECTOR_12, _VECTOR_8, _LOW, _HIGH_3 = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8  # EVT 3.0
_HIGH_2_BITS, _HIGH_3_BITS = 28, 12


def read_dat(file: Path) -> Columns:
    """Return the events of a `.dat` file.

    Raises:
        EventFileError: if the header or the size is that of another format.
    """
    head, body = _split_header(file)
    if not head or len(body) < 2 or body[0] not in _DAT_TYPES or body[1] != _DAT_BYTES:
        fault = f"has {body[:2]!r} after a header of {len(head)} bytes"
        raise EventFileError(file, fault, "events of type 0 or 12 with 8 bytes, as Prophesee's")
    time, address = _words(file, body[2:], "<u4", _DAT_BYTES).reshape(-1, 2).T
    return address & 0x3FFF, (address >> 14) & 0x3FFF, time.astype(np.int64), address >> 28 & 1


def read_raw(file: Path) -> Columns:
    """Return the events of a `.raw` file in EVT 2.0 or EVT 3.0.

    Raises:
        EventFileError: if the header names another format or the size does not fit it.
    """
    head, body = _split_header(file)
    found = re.search(rb"^% *(?:evt *|format *evt)(\d)(?:\.(\d))?\b", head, re.I | re.M)
    version = "" if found is None else f"{int(found[1])}.{int(found[2] or 0)}"
    if version == "2.0":
        return _evt2(_words(file, body, "<u4", 4))
    if version == "3.0":
        return _evt3(_words(file, body, "<u2", 2))
    fault = f"has the format EVT {version}" if version else "names no format in its header"
    raise EventFileError(file, fault, "EVT 2.0 or EVT 3.0 of a Prophesee camera")


def _split_header(file: Path) -> tuple[bytes, bytes]:
    """Return the lines that start with % and the bytes after them."""
    content = file.read_bytes()
    end = 0
    while content[end : end + 1] == b"%":
        line = content.find(b"\n", end)
        if line < 0:
            break
        last = content[end:line].strip() == b"% end"
        end = line + 1
        if last:
            break
    return content[:end], content[end:]


def _words(file: Path, body: bytes, kind: str, size: int) -> NDArray[Any]:
    if len(body) % size:
        fault = f"has {len(body)} bytes after its header"
        raise EventFileError(file, fault, f"a multiple of {size}")
    return np.frombuffer(body, kind)


def _evt2(words: NDArray[np.uint32]) -> Columns:
    kind = words >> 28
    high = _latest(kind == _HIGH_2)
    chosen = np.flatnonzero(((kind == _OFF) | (kind == _ON)) & (high >= 0))
    event = words[chosen]
    base = _continued(words & 0xFFFFFFF, kind == _HIGH_2, _HIGH_2_BITS)[high[chosen]]
    time = (base << 6) | (event >> 22 & 0x3F)
    return event >> 11 & 0x7FF, event & 0x7FF, time, kind[chosen]


def _evt3(words: NDArray[np.uint16]) -> Columns:
    kind, value = words >> 12, words & 0xFFF
    high, low, row = (_latest(kind == each) for each in (_HIGH_3, _LOW, _Y))
    timed = (high >= 0) & (low >= 0) & (row >= 0)
    single = np.flatnonzero((kind == _X) & timed)
    base = _latest(kind == _BASE)
    vector = np.flatnonzero(((kind == _VECTOR_12) | (kind == _VECTOR_8)) & timed & (base >= 0))
    # Each vector word starts where the one before it ended, from the last base on.
    width = np.where(kind == _VECTOR_12, 12, np.where(kind == _VECTOR_8, 8, 0))
    passed = np.cumsum(width) - width
    first = (value & 0x7FF)[base[vector]] + passed[vector] - passed[base[vector]]
    bits = value[vector, None] >> np.arange(12) & 1
    bits[:, 8:] *= (kind[vector] == _VECTOR_12)[:, None]
    which, bit = np.nonzero(bits)
    word = np.concatenate([single, vector[which]])
    x = np.concatenate([(value & 0x7FF)[single], first[which] + bit])
    p = np.concatenate([(value >> 11)[single], (value >> 11)[base[vector]][which]])
    order = np.argsort(word, kind="stable")
    word, x, p = word[order], x[order], p[order]
    time = _continued(value, kind == _HIGH_3, _HIGH_3_BITS)[high[word]] << 12 | value[low[word]]
    return x, (value & 0x7FF)[row[word]], time, p


def _latest(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each word the index of the last chosen one up to it, or -1."""
    return np.maximum.accumulate(np.where(chosen, np.arange(len(chosen)), -1))


def _continued(values: NDArray[Any], chosen: NDArray[np.bool_], bits: int) -> NDArray[np.int64]:
    """Return the high part of the time at the chosen words, continued when it starts again."""
    result = values.astype(np.int64)
    high = result[chosen]
    turns = np.cumsum(np.diff(high, prepend=high[:1]) < -(2 ** (bits - 1)))
    result[chosen] = high + (turns << bits)
    return result
