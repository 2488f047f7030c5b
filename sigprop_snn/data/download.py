"""Downloads that leave either the whole data set or nothing behind."""

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
    """Download into a new folder beside, then move what came into `root`.

    Args:
        name: the data set's name, for the message.
        root: the folder that is to hold the data set.
        looked_for: files or folders that are not there, for the message.
        advice: how to get them by hand, for the message.
        download: fills the folder it is given; None where no download is wanted.

    Raises:
        DataNotFoundError: if no download is wanted, or it fails for whatever reason.
    """
    files = list(looked_for)
    if download is None:
        raise DataNotFoundError(name, files, f"Downloading was switched off. {advice}")
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            download(Path(folder))
            _move_into(Path(folder), root)
    # The libraries raise anything from OSError to RuntimeError; the person needs the same help.
    except Exception as error:
        for folder_made in made:
            with suppress(OSError):
                folder_made.rmdir()
        reason = f"{type(error).__name__}: {error}"
        raise DataNotFoundError(name, files, f"Downloading failed ({reason}). {advice}") from error


def _move_into(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        place = target / entry.name
        if place.is_dir() and entry.is_dir():
            _move_into(entry, place)
        else:
            entry.replace(place)
