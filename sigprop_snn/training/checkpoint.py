"""The checkpoint file: torch's own format, with a checksum of every byte of it.

torch does not look at the checksums of the zip archive that it writes, so a bit flipped in a
weight would be loaded in silence. A SHA-256 of the whole file therefore stands in the archive's
comment, at its very end, where `torch.load` and every zip program leave it alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sigprop_snn.errors import SigpropError

_MARK = b"sigprop_snn sha256 "
_TRAILER = len(_MARK) + 64  # the digest in hexadecimal
_CHUNK = 1 << 20


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write plain values and tensors, and the checksum behind them.

    Raises:
        OSError: if there is no room.
    """
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's own way to say it
        raise OSError(errno.EIO, "torch can't write it; is the disk full?") from error
    with path.open("r+b") as file:
        # An archive without a comment ends with the comment's length: two zero bytes.
        file.seek(-2, os.SEEK_END)
        file.write(_TRAILER.to_bytes(2, "little"))
        size = file.tell()
        file.seek(0)
        digest = _digest(file, size)
        file.seek(size)
        file.write(_MARK + digest)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content. Code in it is never run.

    Raises:
        SigpropError: if the file is not there, is damaged, or holds more than plain data.
    """
    place = f"checkpoint {str(path)!r}"
    try:
        with path.open("rb") as file:
            _check_whole(file, place)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except SigpropError:
        raise
    except FileNotFoundError as error:
        raise SigpropError(f"no checkpoint at {str(path)!r}; expected a run's file") from error
    except Exception as error:
        # torch raises many kinds for damage and for code; all mean the same to the reader.
        raise SigpropError(
            f"{place} can't be read ({type(error).__name__}); "
            "expected a file that a run wrote, of plain values and tensors"
        ) from error
    if not isinstance(state, dict) or "network" not in state:
        raise SigpropError(f"{place} holds no network; expected a run's file")
    return state


def _check_whole(file: BinaryIO, place: str) -> None:
    size = file.seek(0, os.SEEK_END) - _TRAILER
    file.seek(max(size, 0))
    trailer = file.read()
    if size < 0 or not trailer.startswith(_MARK):
        raise SigpropError(
            f"{place} can't be read: its checksum is missing; expected a whole file that a run "
            "wrote"
        )
    file.seek(0)
    if _digest(file, size) != trailer[len(_MARK) :]:
        raise SigpropError(
            f"{place} can't be read: it was changed or damaged since it was written; expected "
            "the content that its checksum tells"
        )


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the next `size` bytes."""
    found = hashlib.sha256()
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        found.update(chunk)
        size -= len(chunk)
    return found.hexdigest().encode()
