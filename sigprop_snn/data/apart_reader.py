"""What runs in the process apart: see `sigprop_snn.data.apart`.

Run as a script. It imports nothing of this package, so that it starts quickly.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_JOB = 300
"""Seconds after which a file that keeps a library busy without end is given up."""

_KINDS = "iufbS"


class RefusedError(Exception):
    """A file that can't be used: what is wrong with it, and what was expected."""


def hdf5(file: str, most: int) -> Sequence[NDArray[Any]]:
    """Return x, y, t and p of the recording in an HDF5 file.

    Args:
        file: path of the file.
        most: largest number of events.
    """
    import h5py

    with h5py.File(file, "r") as content:
        home = content.get("events", content)
        if isinstance(home, h5py.Dataset):
            names = home.dtype.names or ()
            if not {"x", "y", "t", "p"} <= set(names):
                raise RefusedError(f"holds events as {home.dtype}", "the fields x, y, t and p")
            whole = np.atleast_1d(_values(home, most))
            return [whole[name] for name in "xytp"]
        columns = [home.get(name) for name in "xytp"]
        for name, column in zip("xytp", columns, strict=True):
            if not isinstance(column, h5py.Dataset):
                raise RefusedError(
                    f"holds no data set {name}", "x, y, t and p, or structured events"
                )
        return [_values(column, most) for column in columns]


def entries(
    file: str, names: Sequence[str], number: int | None, most: int
) -> Sequence[NDArray[Any]]:
    """Return data sets of an HDF5 file, or one row of each.

    Args:
        file: path of the file.
        names: of the data sets.
        number: of the row, or None.
        most: largest number of values.
    """
    import h5py

    found = []
    with h5py.File(file, "r") as content:
        for name in names:
            entry = content.get(name)
            if not isinstance(entry, h5py.Dataset):
                raise RefusedError(f"holds no data set {name}", "one")
            if number is None:
                value = _values(entry, most)
            elif entry.shape and number < len(entry):
                value = np.asarray(entry[number])
            else:
                raise RefusedError(
                    f"holds {name} of shape {entry.shape}", f"more than {number} rows"
                )
            # Names may be stored with a length of their own each.
            found.append(value.astype("S") if value.dtype.hasobject else value)
    return found


def _values(entry: Any, most: int) -> NDArray[Any]:
    """A data set, unless a few compressed bytes claim to be more than memory holds."""
    if entry.size is None or entry.size > most:
        raise RefusedError(f"holds {entry.name} of shape {entry.shape}", f"up to {most} values")
    values: NDArray[Any] = entry[()]
    return values


def aedat4(file: str) -> Sequence[NDArray[Any]]:
    """Return x, y, t and p of the recording in an AEDAT 4 file."""
    from tonic.io import read_aedat4

    events = read_aedat4(file)
    t, x, y, p = (events[name] for name in events.dtype.names[:4])
    return [x, y, t, p]


JOBS: dict[str, Callable[..., Sequence[NDArray[Any]]]] = {
    "hdf5": hdf5,
    "entries": entries,
    "aedat4": aedat4,
}


def main() -> None:
    """Answer the jobs that come in, one a line, until no more do."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix in
    for line in sys.stdin.buffer:
        job = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(LONGEST_JOB)
        arrays: list[NDArray[Any]] = []
        reply: dict[str, Any]
        try:
            arrays = [np.ascontiguousarray(a) for a in JOBS[job["what"]](*job["with"])]
            for array in arrays:
                if array.dtype.kind not in _KINDS:
                    raise RefusedError(
                        f"holds {array.dtype} of shape {array.shape}", "plain numbers"
                    )
            reply = {"arrays": [[array.dtype.str, array.shape] for array in arrays]}
        except RefusedError as error:
            arrays = []
            reply = {"fault": error.args[0], "expected": error.args[1]}
        except BaseException as error:  # aedat's PanicException is no Exception
            arrays, reply = [], {"error": str(error) or type(error).__name__}
        replies.write(json.dumps(reply).encode() + b"\n")
        for array in arrays:
            replies.write(array.tobytes())
        replies.flush()


if __name__ == "__main__":
    main()
