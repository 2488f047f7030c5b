"""Writes a file in place. Some file systems flush a file to the disk when it was emptied first."""

from __future__ import annotations

from pathlib import Path


def overwrite(path: Path, content: bytes) -> None:
    """Replace the content of a file."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate()
