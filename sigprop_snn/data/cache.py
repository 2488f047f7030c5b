"""Frames on disk, in one file a split, so that no recording is binned twice.

The file holds bytes of counts and nothing that could run. Its name holds a hash of all that shaped
the frames, its head the whole hash, and each recording's frames lie behind their own checksum. So
another bin width never finds it, and what is cut, flipped or was never written is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

_FORMAT = b"sigprop-snn frames 1\n"
_CHECK = struct.Struct("<II")  # a mark that something was written, and its checksum
_WRITTEN = 0x46524D31
_MANY = 500  # recordings that take long enough to show a bar


def fingerprint(shaped_by: Mapping[str, Any]) -> str:
    """Return a hash of plain values as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()


def stamps(files: Sequence[Path], root: Path) -> list[list[Any]]:
    """Return name, size in bytes and time of change in nanoseconds of every file."""
    found = []
    for file in files:
        status = file.stat()
        name = file.relative_to(root) if file.is_relative_to(root) else file
        found.append([name.as_posix(), status.st_size, status.st_mtime_ns])
    return found


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> bool:
    """Write a file beside its place and move it there, so that no half of it is ever seen.

    Returns:
        Whether that was possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as new:
            beside = Path(new.name)
            try:
                fill(new)
                new.close()
                beside.chmod(0o644)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
    except OSError:
        return False
    return True


class FrameFile:
    """The frames of a split's recordings, each made at most once while the file lasts.

    A place that can't be written to, a full disk or a file that vanishes only means that frames
    are made again.

    Args:
        path: where the file is to lie; None keeps nothing.
        digest: `fingerprint` of all that shapes the frames.
        count: number of recordings.
        shape: shape of a recording's frames.
        dtype: type of the counts.
    """

    def __init__(
        self, path: Path | None, digest: str, count: int, shape: tuple[int, ...], dtype: str
    ) -> None:
        self._path = path
        self._head = _FORMAT + bytes.fromhex(digest)
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._record: int = _CHECK.size + math.prod(shape) * self._dtype.itemsize
        self._size = len(self._head) + count * self._record

    def read(self, index: Sequence[int], make: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """Return the frames of some recordings, `[n, *shape]`.

        Args:
            index: their numbers.
            make: gives the frames of a recording that the file doesn't hold.
        """
        frames = np.empty((len(index), *self._shape), self._dtype.newbyteorder("="))
        quiet = len(index) < _MANY or not sys.stderr.isatty()
        with self._opened() as file:
            keep = file is not None
            for row, number in enumerate(tqdm(index, "events", leave=False, disable=quiet)):
                found = None if file is None else self._fetch(file, number)
                frames[row] = make(number) if found is None else found
                if file is not None and found is None and keep:
                    keep = self._store(file, number, frames[row])
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
        modes: tuple[Literal["r+b", "rb"], ...] = ("r+b", "rb")  # a place may only be readable
        for mode in modes:
            try:
                file = path.open(mode, buffering=0)
            except FileNotFoundError:
                break
            except OSError:
                continue
            if self._is_whole(file):
                return file
            file.close()
            break
        return self._create(path)

    def _is_whole(self, file: FileIO) -> bool:
        try:
            return file.read(len(self._head)) == self._head and file.seek(0, 2) == self._size
        except OSError:
            return False

    def _create(self, path: Path) -> FileIO | None:
        def fill(file: IO[bytes]) -> None:
            file.write(self._head)
            # The rest takes no place on the disk until it is written.
            file.truncate(self._size)

        return path.open("r+b", buffering=0) if write_whole(path, fill) else None

    def _place(self, number: int) -> int:
        return len(self._head) + number * self._record

    def _fetch(self, file: FileIO, number: int) -> NDArray[Any] | None:
        try:
            file.seek(self._place(number))
            record = file.read(self._record)
        except OSError:
            return None
        if len(record) != self._record:
            return None
        body = memoryview(record)[_CHECK.size :]
        if _CHECK.unpack_from(record) != (_WRITTEN, zlib.crc32(body, number)):
            return None
        return np.frombuffer(body, self._dtype).reshape(self._shape)

    def _store(self, file: FileIO, number: int, frames: NDArray[Any]) -> bool:
        body = frames.astype(self._dtype).tobytes()
        try:
            file.seek(self._place(number))
            # In one go; what a crash leaves of it fails its checksum.
            record = _CHECK.pack(_WRITTEN, zlib.crc32(body, number)) + body
            return file.write(record) == len(record)
        except OSError:
            return False
