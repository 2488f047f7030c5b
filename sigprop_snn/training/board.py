"""Records of a run for TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sigprop_snn.errors import SigpropError

FOLDER = "tensorboard"


class TensorBoard:
    """Writes each epoch's record as scalars.

    Args:
        path: the folder of the event files.
        epochs_done: what was written of later epochs, by a process that was killed, is withdrawn.
    """

    def __init__(self, path: Path, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(path), purge_step=epochs_done + 1)  # type: ignore[no-untyped-call]

    def add(self, record: dict[str, Any]) -> None:
        """Write one epoch's record."""
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["epoch"])  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()  # type: ignore[no-untyped-call]


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """Return a record's figures by name, such as "accuracy/test" and "accuracy/block1"."""
    shown = {
        f"accuracy/{split}": record[f"{split}_accuracy"]
        for split in ("train", "validation", "test")
        if f"{split}_accuracy" in record
    }
    shown |= {"loss/network": record["loss"], "seconds": record["seconds"]}
    for layer in record["layers"]:
        for key in ("accuracy", "loss", "spike_rate", "dead_fraction"):
            shown[f"{key}/{layer['name']}"] = layer[key]
    return {name: value for name, value in shown.items() if value is not None}


def require_tensorboard() -> None:
    """Refuse to begin a run whose records could not be written.

    Raises:
        SigpropError: if TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SigpropError(
            "tensorboard is asked for but not installed; expected "
            "`pip install 'sigprop-snn[tensorboard]'`, or a run without it"
        )


@contextmanager
def board_of(path: Path, asked: bool, epochs_done: int) -> Iterator[TensorBoard | None]:
    """Open the board of a run folder for as long as the block lasts, if one is asked for."""
    board = TensorBoard(path / FOLDER, epochs_done) if asked else None
    try:
        yield board
    finally:
        if board is not None:
            board.close()
