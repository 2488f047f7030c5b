"""A user's own files: one folder for each class, in `train/<class>/` and `test/<class>/`."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sigprop_snn.data.source import DataNotFoundError
from sigprop_snn.errors import SigpropError


@dataclass(frozen=True)
class LabelledFiles:
    """The files of one split, sorted by class and path.

    Attributes:
        files: the files.
        labels: the label of each file.
    """

    files: Sequence[Path]
    labels: Sequence[int]


def find_class_folders(
    name: str,
    root: Path,
    suffixes: Sequence[str],
    is_sample: Callable[[Path], bool] = lambda file: True,
) -> tuple[tuple[str, ...], LabelledFiles, LabelledFiles]:
    """Return the names of the classes, the training files and the test files.

    Hidden files and folders are left out. Other files that are no samples are left out with a
    warning.

    Args:
        name: the data set's name, for messages.
        root: the folder that contains `train` and `test`.
        suffixes: suffixes of the files to use, in lower case.
        is_sample: whether a file with such a suffix is to be used.

    Raises:
        DataNotFoundError: if `train` or `test` is missing.
        SigpropError: if there are fewer than two classes, a class is empty, or `train` and `test`
            have different classes.
    """
    splits = [root / "train", root / "test"]
    missing = [split / "<class>" for split in splits if not split.is_dir()]
    if missing:
        raise DataNotFoundError(
            name, missing, "The data root must be the folder that contains train and test."
        )
    train, test = (_files_by_class(split, suffixes, is_sample) for split in splits)
    if train.keys() != test.keys():
        different = ", ".join(sorted(train.keys() ^ test.keys()))
        raise SigpropError(
            f"{splits[0]} and {splits[1]} have different classes ({different}); expected the same "
            "folders in both"
        )
    if len(train) < 2:
        raise SigpropError(
            f"{splits[0]} contains one class, {next(iter(train))!r}; expected two or more"
        )
    return tuple(train), _labelled(train), _labelled(test)


def _files_by_class(
    split: Path, suffixes: Sequence[str], is_sample: Callable[[Path], bool]
) -> dict[str, list[Path]]:
    classes = sorted(f for f in split.iterdir() if f.is_dir() and not f.name.startswith("."))
    found: dict[str, list[Path]] = {}
    left_out: list[Path] = []
    for folder in classes:
        found[folder.name] = []
        for file in visible_files(folder):
            if file.suffix.lower() in suffixes and is_sample(file):
                found[folder.name].append(file)
            else:
                left_out.append(file)
    empty = [split / name for name, files in found.items() if not files]
    if empty or not found:
        raise SigpropError(
            f"{empty[0] if empty else split} contains no data; expected one folder a class, with "
            f"files that end in {', '.join(suffixes)}"
        )
    if left_out:
        kinds = Counter(file.suffix for file in left_out)
        counts = ", ".join(f"{count} {suffix or '(none)'}" for suffix, count in kinds.items())
        table = any(suffix.lower() in suffixes for suffix in kinds)
        warnings.warn(
            f"{split}: left out files that are no samples ({counts}), such as "
            f"{left_out[0].relative_to(split)}; expected {', '.join(suffixes)}"
            + (", and columns of numbers in text" if table else ""),
            stacklevel=2,
        )
    return found


def _labelled(by_class: dict[str, list[Path]]) -> LabelledFiles:
    samples = [(file, label) for label, files in enumerate(by_class.values()) for file in files]
    return LabelledFiles([file for file, _ in samples], [label for _, label in samples])


def visible_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, except those hidden or in a hidden folder.

    Symbolic links are followed; a folder that several links lead to is read once.

    Raises:
        SigpropError: if a link leads to no file.
    """
    found: list[Path] = []
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            file = Path(place, name)
            if name.startswith("."):
                continue
            if file.is_symlink() and not file.exists():
                raise SigpropError(f"{file} is a link to {file.readlink()}; expected a file there")
            found.append(file)
    return sorted(found)
