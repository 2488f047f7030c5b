"""The version of the package."""

from __future__ import annotations

import configparser
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

_NAME = "sigprop-snn"


def version() -> str:
    """Return the version: of the clone that this file is part of, or of the installed package."""
    # A clone comes first: another version may be installed beside it.
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(Path(__file__).resolve().parent.parent / "setup.cfg", encoding="utf-8")
    if settings.get("metadata", "name", fallback=None) == _NAME:
        return settings.get("metadata", "version")
    try:
        return installed_version(_NAME)
    except PackageNotFoundError:
        return "unknown"


__version__ = version()
