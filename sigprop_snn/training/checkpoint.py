"""The checkpoint file: torch's format, with a checksum over all its bytes.

torch writes a zip archive and does not check its checksums on reading, so a flipped bit in a weight
would go unnoticed. We write a SHA-256 of the file into the archive's comment, at the very end of
the file. `torch.load` and zip programs ignore a comment.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sigprop_snn.arguments import path as as_path
from sigprop_snn.errors import SigpropError

FORMAT = 1
"""Version of the content of a run's checkpoint."""

_CONTENT: dict[str, type] = {
    "format": int,
    "config": dict,
    "data": dict,
    "made_with": dict,
    "epoch": int,
    "batch": int,
    "tally": dict,
    "history": list,
    "network": dict,
    "optimizers": dict,
    "schedules": dict,
    "random": dict,
}
_MARK = b"sigprop_snn sha256 "
_TRAILER = len(_MARK) + 64  # the digest in hexadecimal
_CHUNK = 1 << 20


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write plain values and tensors, and their checksum.

    Raises:
        OSError: if the file can't be written, such as on a full disk.
    """
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch reports a failed write in this way
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


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint. Code in the file never runs.

    Raises:
        SigpropError: if the file is missing or damaged, or holds other things than plain values
            and tensors.
    """
    path = as_path("path", path)
    place = f"checkpoint {str(path)!r}"
    try:
        with path.open("rb") as file:
            _check_digest(file, place)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except SigpropError:
        raise
    except FileNotFoundError as error:
        raise SigpropError(
            f"no checkpoint at {str(path)!r}; expected a file of a training run"
        ) from error
    except Exception as error:  # torch raises many types for damage and for code
        raise SigpropError(
            f"{place} can't be read ({type(error).__name__}); "
            "expected a file of a training run, with plain values and tensors"
        ) from error
    if not isinstance(state, dict) or "network" not in state:
        raise SigpropError(f"{place} holds no network; expected a file of a training run")
    return state


def load_run_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint of a run, with every part that `TrainingRun.restore` needs.

    Raises:
        SigpropError: as `load_checkpoint`, and if a part is missing or has the wrong type.
    """
    checkpoint = load_checkpoint(path)
    place = f"checkpoint {str(path)!r}"
    check_content(checkpoint, _CONTENT, place)
    if checkpoint["format"] != FORMAT:
        raise SigpropError(
            f"{place} has format {checkpoint['format']}; expected format {FORMAT}, which this "
            "version writes"
        )
    if checkpoint["epoch"] != len(checkpoint["history"]) or checkpoint["batch"] < 0:
        raise SigpropError(
            f"{place} has epoch {checkpoint['epoch']}, batch {checkpoint['batch']} and "
            f"{len(checkpoint['history'])} records; expected one record for each epoch"
        )
    return checkpoint


def check_content(content: Mapping[str, Any], kinds: Mapping[str, type], place: str) -> None:
    """Check that the content of a file has every part that is expected.

    Args:
        content: the parts by name.
        kinds: the type of every part.
        place: the file, for the message.

    Raises:
        SigpropError: if a part is missing or has the wrong type.
    """
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise SigpropError(
                f"{place} has {type(content.get(key)).__name__} for {key!r}; expected "
                f"{kind.__name__}"
            )


def _check_digest(file: BinaryIO, place: str) -> None:
    size = file.seek(0, os.SEEK_END) - _TRAILER
    file.seek(max(size, 0))
    trailer = file.read()
    if size < 0 or not trailer.startswith(_MARK):
        raise SigpropError(
            f"{place} can't be read: it has no checksum; expected a whole file of a training run"
        )
    file.seek(0)
    if _digest(file, size) != trailer[len(_MARK) :]:
        raise SigpropError(
            f"{place} can't be read: it was changed or damaged after it was written; expected "
            "content that matches its checksum"
        )


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the next `size` bytes."""
    digest = hashlib.sha256()
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
