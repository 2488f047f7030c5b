"""Frames on disk, one file a split, so that each recording is binned once.

The file contains event counts and no code. Its name and its header contain a hash of everything
that determines the frames, so other settings use another file. Each recording's frames have a
checksum, so damaged or missing frames are found and made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.data.parallel import in_parallel
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically

_FORMAT = b"sigprop-snn frames 1\n"
_CHECK = struct.Struct("<II")  # `_WRITTEN` once the record is written, then its checksum
_WRITTEN = 0x46524D31


def fingerprint(values: Mapping[str, Any]) -> str:
    """Return a SHA-256 hash of plain values, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def stamps(files: Sequence[Path], root: Path) -> list[list[Any]]:
    """Return the name, the size in bytes and the time of change in nanoseconds of each file."""
    found = []
    for file in files:
        status = file.stat()
        name = file.relative_to(root) if file.is_relative_to(root) else file
        found.append([name.as_posix(), status.st_size, status.st_mtime_ns])
    return found


class FrameFile:
    """The frames of a split's recordings, on disk.

    Errors of the file system are not raised: when the file can't be written or read, frames are
    made again.

    Args:
        path: the file; None keeps nothing.
        digest: `fingerprint` of everything that determines the frames.
        count: number of recordings.
        shape: shape of a recording's frames.
        dtype: type of the counts.
    """

    def __init__(
        self, path: Path | None, digest: str, count: int, shape: tuple[int, ...], dtype: str
    ) -> None:
        self._path = path
        self._header = _FORMAT + bytes.fromhex(digest)
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._record_size: int = _CHECK.size + math.prod(shape) * self._dtype.itemsize
        self._size = len(self._header) + count * self._record_size

    def read(self, index: Sequence[int], make: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """Return the frames of some recordings, `[n, *shape]`.

        Args:
            index: their numbers.
            make: returns the frames of a recording that the file does not contain.
        """
        frames = np.empty((len(index), *self._shape), self._dtype.newbyteorder("="))
        with self._opened() as file:
            missing = []
            for row, number in enumerate(index):
                stored = None if file is None else self._load(file, number)
                if stored is None:
                    missing.append(row)
                else:
                    frames[row] = stored
            writable = file is not None
            made = in_parallel(make, [index[row] for row in missing], "reading events")
            for row, counts in zip(missing, made, strict=True):
                frames[row] = counts
                if file is not None and writable:
                    writable = self._store(file, index[row], counts)
        return frames

    @contextmanager
    def _opened(self) -> Iterator[FileIO | None]:
        file = None if self._path is None else self._open(self._path)
        try:
            yield file
        finally:
            if file is not None:
                file.close()

    def _open(self, path: Path) -> FileIO | None:
        modes: tuple[Literal["r+b", "rb"], ...] = ("r+b", "rb")  # the folder may be read-only
        for mode in modes:
            try:
                file = path.open(mode, buffering=0)
            except FileNotFoundError:
                break
            except OSError:
                continue
            if self._fits(file):
                return file
            file.close()
            break
        return self._create(path)

    def _fits(self, file: FileIO) -> bool:
        """Return whether the file has this header and this size."""
        try:
            header = file.read(len(self._header))
            return header == self._header and file.seek(0, 2) == self._size
        except OSError:
            return False

    def _create(self, path: Path) -> FileIO | None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.write(self._header)
                file.truncate(self._size)  # a sparse file: unwritten records take no disk space

        try:
            write_atomically(path, write, make_folders=True)
            return path.open("r+b", buffering=0)
        except (SigpropError, OSError):
            return None

    def _offset(self, number: int) -> int:
        return len(self._header) + number * self._record_size

    def _load(self, file: FileIO, number: int) -> NDArray[Any] | None:
        try:
            file.seek(self._offset(number))
            record = file.read(self._record_size)
        except OSError:
            return None
        if len(record) != self._record_size:
            return None
        body = memoryview(record)[_CHECK.size :]
        if _CHECK.unpack_from(record) != (_WRITTEN, zlib.crc32(body, number)):
            return None
        return np.frombuffer(body, self._dtype).reshape(self._shape)

    def _store(self, file: FileIO, number: int, frames: NDArray[Any]) -> bool:
        """Write the frames of a recording and return whether that worked."""
        body = frames.astype(self._dtype).tobytes()
        try:
            file.seek(self._offset(number))
            # One write of checksum and frames: after a crash in between, the checksum is wrong.
            record = _CHECK.pack(_WRITTEN, zlib.crc32(body, number)) + body
            return file.write(record) == len(record)
        except OSError:
            return False
