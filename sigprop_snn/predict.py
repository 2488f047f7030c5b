"""How a network predicts."""

# This module does not import torch: the command line needs it for its help.

from __future__ import annotations

from typing import Literal, get_args

Predict = Literal["readout", "context", "subset", "neutral", "vote"]
"""By the readout, by contexts at the last block in three ways, or by a vote; see `Network`."""

PREDICTIONS: tuple[Predict, ...] = get_args(Predict)
BY_LAST_BLOCK: tuple[Predict, ...] = ("context", "subset", "neutral")
