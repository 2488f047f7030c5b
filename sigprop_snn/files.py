"""Writing files so that a failure leaves no half-written file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from sigprop_snn.errors import SigpropError

_READABLE_BY_ALL = 0o644  # mkstemp makes files that only their owner can read


def write_atomically(
    path: str | os.PathLike[str],
    write: Callable[[Path], object],
    *,
    make_folders: bool = False,
) -> Path:
    """Write a file in full, or leave what was there before.

    `write` fills a temporary file in the same folder. The file is flushed to the disk and then
    renamed to `path`, so no reader ever sees a part of it. When anything fails, the temporary file
    is deleted.

    Args:
        path: the file to write. An existing file is replaced.
        write: receives the path of an empty temporary file and fills it. The temporary name starts
            with a dot and ends as `path` does, so a library that chooses its format by the ending
            chooses the right one.
        make_folders: whether to make the folders of `path` that do not exist.

    Returns:
        The path written.

    Raises:
        SigpropError: if the operating system refuses, such as for a full disk. Other errors of
            `write` pass through.
    """
    target = Path(path).expanduser()
    try:
        if make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(_READABLE_BY_ALL)
            _flush(temporary)  # the content must reach the disk before the new name does
            temporary.replace(target)
        finally:
            # A second failure must not replace the first one's reason.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SigpropError(
            f"{str(target)!r} can't be written ({error.strerror or error}); expected "
            f"{_expected(target)}. What was there before is unchanged"
        ) from error
    return target


def check_folder(path: Path) -> None:
    """Check that a file can have a path: that its folder exists.

    Raises:
        SigpropError: if it does not.
    """
    if not _is_folder(path.parent):
        raise SigpropError(f"{str(path)!r} can't be written; expected {_expected(path)}")


def _expected(target: Path) -> str:
    if not _is_folder(target.parent):
        return f"that the folder {str(target.parent)!r} exists"
    if _is_folder(target):
        return "the name of a file, not of a folder"
    return "free space and permission to write there"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no file can have this name
        return False


def write_text_atomically(path: str | os.PathLike[str], text: str) -> Path:
    """Write text as UTF-8, as `write_atomically` does."""
    return write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def _flush(path: Path) -> None:
    # Through a new handle: `write` may have replaced the file that mkstemp opened.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
