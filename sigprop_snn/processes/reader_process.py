"""The child process of `sigprop_snn.processes.isolated_reader`.

It runs as a script and imports nothing of this package, so that it starts fast.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIME_LIMIT = 300
"""Seconds for one file; a damaged file can keep a library busy forever."""

_KINDS = "iufbS"
_DEEPEST = 16  # groups within groups
_ECF = 36559
_FILTERS = {
    32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard",
    32026: "Blosc2", _ECF: "Prophesee's ECF",
}  # fmt: skip


class RefusedError(Exception):
    """A file that can't be used. The arguments are the fault and what was expected."""


def hdf5_events(file: str, most: int) -> Sequence[NDArray[Any]]:
    """Return x, y, t and p of the recording in an HDF5 file.

    Args:
        file: path of the file.
        most: largest number of events.
    """
    import h5py

    with _opened(file) as content:
        home = content.get("events", content)
        if isinstance(home, h5py.Dataset):
            names = home.dtype.names or ()
            if not {"x", "y", "t", "p"} <= set(names):
                raise RefusedError(f"contains events as {home.dtype}", "the fields x, y, t and p")
            events = np.atleast_1d(_values(home, most))
            return [events[name] for name in "xytp"]
        columns = [home.get(name) for name in "xytp"]
        for name, column in zip("xytp", columns, strict=True):
            if not isinstance(column, h5py.Dataset):
                raise RefusedError(
                    f"contains no data set {name}", "x, y, t and p, or structured events"
                )
        return [_values(column, most) for column in columns]


def hdf5_values(
    file: str, names: Sequence[str], row: int | None, most: int
) -> Sequence[NDArray[Any]]:
    """Return data sets of an HDF5 file, or one row of each.

    Args:
        file: path of the file.
        names: names of the data sets.
        row: number of the row, or None for all rows.
        most: largest number of values.
    """
    import h5py

    found = []
    with _opened(file) as content:
        for name in names:
            entry = content.get(name)
            if not isinstance(entry, h5py.Dataset):
                raise RefusedError(f"contains no data set {name}", "one")
            if row is None:
                value = _values(entry, most)
            elif entry.shape and row < len(entry):
                value = np.asarray(_read(entry, row))
            else:
                raise RefusedError(
                    f"contains {name} of shape {entry.shape}", f"more than {row} rows"
                )
            # HDF5 can store each string with another length.
            found.append(value.astype("S") if value.dtype.hasobject else value)
    return found


def hdf5_tree(file: str, most: int, most_entries: int) -> Sequence[NDArray[Any]]:
    """Return all data sets of an HDF5 file: their names as a JSON list in bytes, then their values.

    Links that leave their group are refused, and data sets that read other files.

    Args:
        file: path of the file.
        most: largest number of values of all data sets together.
        most_entries: largest number of groups and data sets.
    """
    import h5py

    names: list[list[str]] = []
    values: list[NDArray[Any]] = []
    with _opened(file) as content:
        waiting: list[tuple[list[str], Any]] = [([], content)]
        seen = 0
        while waiting:
            place, group = waiting.pop()
            for name in group:
                seen += 1
                if seen > most_entries or len(place) > _DEEPEST:
                    raise RefusedError(
                        f"contains more than {most_entries} groups and data sets, or groups in "
                        f"more than {_DEEPEST} groups",
                        "fewer",
                    )
                where = [*place, name]
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise RefusedError(f"contains the link {'/'.join(where)}", "no links")
                entry = group[name]
                if isinstance(entry, h5py.Group):
                    waiting.append((where, entry))
                    continue
                if not isinstance(entry, h5py.Dataset) or entry.external or entry.is_virtual:
                    raise RefusedError(
                        f"contains {'/'.join(where)}, which is no data set of this file",
                        "data sets with their values in the file",
                    )
                found = np.asarray(_values(entry, most))
                most -= found.size
                names.append(where)
                values.append(found.astype("S") if found.dtype.hasobject else found)
    return [np.frombuffer(json.dumps(names).encode(), np.uint8), *values]


def _values(entry: Any, most: int) -> NDArray[Any]:
    """Read a data set. Refuse a few compressed bytes that would fill the memory."""
    if entry.size is None or entry.size > most:
        raise RefusedError(f"contains {entry.name} of shape {entry.shape}", f"up to {most} values")
    values: NDArray[Any] = _read(entry, ())
    return values


def _opened(file: str) -> Any:
    """Open an HDF5 file, with the filters of hdf5plugin where it is installed."""
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401
    return h5py.File(file, "r")


def _read(entry: Any, rows: Any) -> Any:
    """Read rows of a data set. The refusal names a compression that h5py can't read."""
    import h5py

    try:
        return entry[rows]
    except OSError:
        settings = entry.id.get_create_plist()
        for number in range(settings.get_nfilters()):
            code, _, _, name = settings.get_filter(number)
            if not h5py.h5z.filter_avail(code):
                text = _FILTERS.get(code) or name.decode("utf-8", "replace") or "a filter"
                cure = "the package hdf5plugin as well: `pip install hdf5plugin`"
                raise RefusedError(
                    f"contains {entry.name} compressed by {text} (HDF5 filter {code}), which h5py "
                    "can't read",
                    "the camera's .raw file" if code == _ECF else cure,
                ) from None
        raise


def aedat4_events(file: str) -> Sequence[NDArray[Any]]:
    """Return x, y, t and p of the recording in an AEDAT 4 file."""
    from tonic.io import read_aedat4

    events = read_aedat4(file)
    t, x, y, p = (events[name] for name in events.dtype.names[:4])
    return [x, y, t, p]


JOBS: dict[str, Callable[..., Sequence[NDArray[Any]]]] = {
    "hdf5_events": hdf5_events,
    "hdf5_tree": hdf5_tree,
    "hdf5_values": hdf5_values,
    "aedat4_events": aedat4_events,
}


def main() -> None:
    """Answer requests, one a line, until the input ends.

    An answer is the length of a JSON object in eight bytes, the object, and the arrays' bytes.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output that a library prints must not mix with the answers
    has_alarm = hasattr(signal, "alarm")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if has_alarm:
            signal.alarm(TIME_LIMIT)
        arrays: list[NDArray[Any]] = []
        header: dict[str, Any]
        try:
            found = JOBS[request["job"]](*request["arguments"])
            arrays = [np.ascontiguousarray(array) for array in found]
            for array in arrays:
                if array.dtype.kind not in _KINDS:
                    raise RefusedError(
                        f"contains {array.dtype} of shape {array.shape}", "plain numbers"
                    )
            header = {"arrays": [[array.dtype.str, array.shape] for array in arrays]}
        except RefusedError as error:
            arrays = []
            header = {"fault": error.args[0], "expected": error.args[1]}
        except BaseException as error:  # aedat raises PanicException, which is no Exception
            arrays, header = [], {"error": str(error) or type(error).__name__}
        if has_alarm:
            signal.alarm(0)  # waiting for the next request has no time limit
        encoded = json.dumps(header).encode()
        answers.write(len(encoded).to_bytes(8, "little") + encoded)
        for array in arrays:
            answers.write(array.tobytes())
        answers.flush()


if __name__ == "__main__":
    main()
