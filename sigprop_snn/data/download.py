"""Downloads that add a complete data set or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sigprop_snn.data.source import DataNotFoundError


def fetch(
    name: str,
    root: Path,
    looked_for: Iterable[Path],
    advice: str,
    download: Callable[[Path], object] | None,
) -> None:
    """Download into a temporary folder, then move the files to `root`.

    Args:
        name: the data set's name, for messages.
        root: the folder to contain the data set.
        looked_for: the missing files or folders, for messages.
        advice: how to get them by hand, for messages.
        download: downloads into the folder that it receives; None if downloads are off.

    Raises:
        DataNotFoundError: if downloads are off or the download fails.
    """
    files = list(looked_for)
    if download is None:
        raise DataNotFoundError(name, files, f"Downloading is switched off. {advice}")
    new_folders = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            download(Path(folder))
            _move_into(Path(folder), root)
    # The libraries raise anything from OSError to RuntimeError; the user needs the same advice.
    except Exception as error:
        for new in new_folders:
            with suppress(OSError):
                new.rmdir()
        reason = f"{type(error).__name__}: {error}"
        raise DataNotFoundError(name, files, f"Downloading failed ({reason}). {advice}") from error


def _move_into(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        place = target / entry.name
        if place.is_dir() and entry.is_dir():
            _move_into(entry, place)
        else:
            entry.replace(place)
