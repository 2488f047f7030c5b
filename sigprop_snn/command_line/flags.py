"""Flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

RunFolder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
"""The folder of a run."""

DataRoot = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
"""The folder that holds the data sets now."""

Device = Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")]
"""The device to compute on now."""
