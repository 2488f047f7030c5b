"""How a network predicts."""

# This module does not import torch: the command line needs it for its help.

from __future__ import annotations

from typing import Literal, get_args

Predict = Literal["readout", "context", "subset", "neutral", "both", "vote"]
"""By the readout, by contexts at the last block in three ways, by both, or by a vote of all blocks;
see `Network`."""

PREDICTIONS: tuple[Predict, ...] = get_args(Predict)
PREDICTIONS_BY_NAME: dict[str, str] = {
    "readout": "By the mean voltage of the readout.",
    "context": "By the nearest context at the last block.",
    "subset": "By the nearest of a subset of contexts that every block narrows.",
    "neutral": "By contexts against a neutral context; a score above 0 is nearer than no class.",
    "both": "By the readout and the nearest context at the last block together.",
    "vote": "By a vote of all blocks.",
}
BY_LAST_BLOCK: tuple[Predict, ...] = ("context", "subset", "neutral")
