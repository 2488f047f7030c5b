"""What a run folder holds, read as far as it can be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigprop_snn.errors import SigpropError
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, METRICS, SUMMARY

_KNOWN = {
    CONFIG: "the choices of the run",
    METRICS: "a line for each epoch",
    CHECKPOINT: "weights and optimizer state",
    SUMMARY: "the last epoch's figures",
}


@dataclass(frozen=True)
class RunFile:
    """One file of a run.

    Attributes:
        name: its path in the run folder.
        size: in bytes.
        about: what it holds, where that is known.
    """

    name: str
    size: int
    about: str


@dataclass(frozen=True)
class Contents:
    """The plain files of a run folder.

    Attributes:
        path: the run folder.
        config: the configuration; empty where it can't be read.
        history: the epochs' records.
        summary: the summary; empty where it can't be read.
        files: every file of the run.
        notes: what could not be read, and why.
    """

    path: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    files: list[RunFile]
    notes: list[str]


def read_contents(path: Path) -> Contents:
    """Return what a run folder holds. A file that is damaged is noted, and the rest is read.

    Raises:
        SigpropError: if there is no run at that place.
    """
    if not (path / CONFIG).is_file() and not (path / METRICS).is_file():
        raise SigpropError(
            f"no run at {str(path)!r}; expected a folder with {CONFIG} or {METRICS}, as "
            "`sigprop-snn train` leaves it"
        )
    notes: list[str] = []
    history = [
        record
        for line in (_text(path / METRICS, notes) or "").splitlines()
        if (record := _parsed(line, f"a line of {METRICS}", notes))
    ]
    return Contents(
        path,
        _parsed(_text(path / CONFIG, notes), CONFIG, notes),
        history,
        _parsed(_text(path / SUMMARY, notes), SUMMARY, notes) if (path / SUMMARY).exists() else {},
        _files(path),
        list(dict.fromkeys(notes)),
    )


def _text(path: Path, notes: list[str]) -> str | None:
    """Return what a file holds, or None once it is noted why that can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        notes.append(f"{path.name} is not there.")
    except (OSError, UnicodeDecodeError) as error:
        notes.append(f"{path.name} can't be read ({type(error).__name__}).")
    return None


def _parsed(text: str | None, name: str, notes: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        notes.append(f"{name} is damaged: it holds no JSON object.")
        return {}
    return found


def _files(path: Path) -> list[RunFile]:
    found = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            found.append(RunFile(str(name), file.stat().st_size, _KNOWN.get(str(name), "")))
    return found
