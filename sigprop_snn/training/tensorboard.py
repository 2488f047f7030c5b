"""Records of a run for TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sigprop_snn.errors import SigpropError

FOLDER = "tensorboard"

_OF_LAYERS = {
    "accuracy": "accuracy",
    "loss": "loss",
    "spike_rate": "spike_rate",
    "dead_neurons": "dead_fraction",
}


class TensorBoard:
    """Writes the record of each epoch as scalars.

    Args:
        path: the folder of the event files.
        epochs_done: number of finished epochs. Records of later epochs, which a killed process
            may have written, are withdrawn.
    """

    def __init__(self, path: Path, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(path), purge_step=epochs_done + 1)  # type: ignore[no-untyped-call]

    def add(self, record: dict[str, Any]) -> None:
        """Write the record of an epoch."""
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["epoch"])  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()  # type: ignore[no-untyped-call]


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a record by name, such as "accuracy/test" and "accuracy/block1"."""
    found = {
        f"accuracy/{split}": record[f"{split}_accuracy"]
        for split in ("train", "validation", "test")
        if f"{split}_accuracy" in record
    }
    found |= {"loss/network": record["loss"], "seconds": record["seconds"]}
    for layer in record["layers"]:
        for name, key in _OF_LAYERS.items():
            found[f"{name}/{layer['name']}"] = layer[key]
    return {name: value for name, value in found.items() if value is not None}


def require_tensorboard() -> None:
    """Raise an error if TensorBoard is missing.

    Raises:
        SigpropError: if TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SigpropError(
            "tensorboard is True but TensorBoard is not installed; expected "
            "`pip install tensorboard`, or a run without --tensorboard"
        )


@contextmanager
def open_tensorboard(path: Path, enabled: bool, epochs_done: int) -> Iterator[TensorBoard | None]:
    """Open the TensorBoard records of a run folder for the `with` block, if they are enabled.

    Args:
        path: the run folder.
        enabled: False yields None.
        epochs_done: as in `TensorBoard`.
    """
    board = TensorBoard(path / FOLDER, epochs_done) if enabled else None
    try:
        yield board
    finally:
        if board is not None:
            board.close()
