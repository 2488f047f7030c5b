"""A run folder read back, to be judged and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sigprop_snn.errors import SigpropError
from sigprop_snn.training.folder import CHECKPOINT, SUMMARY, RunFolder
from sigprop_snn.training.loop import fresh_state
from sigprop_snn.training.saved import load_data, read_run
from sigprop_snn.training.trained import Trained


def load_run(
    path: Path,
    *,
    data_root: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
) -> Trained:
    """Return a run from its folder, as `train` returned it; nothing in the folder is changed.

    Args:
        path: the run folder. The run may be unfinished: the network is then that of its last
            checkpoint, or of the best epoch so far, and the summary is empty.
        data_root: where the data lie now, if not where the run says.
        device: where to compute now, if not where the run says.

    Raises:
        SigpropError: if no checkpoint lies there, a file is damaged or does not fit the others,
            or the data are not those that the run was made with.
    """
    folder = RunFolder.existing(path)
    saved = read_run(folder)
    if saved.checkpoint is None:
        raise SigpropError(
            f"run folder {str(path)!r} holds no {CHECKPOINT} yet; expected one. Go on with: "
            f"sigprop-snn resume {path}"
        )
    config = saved.config_for(data_root, device)
    data = load_data(config)
    saved.check_data(data)
    state = fresh_state(config, data)
    saved.restore(state)
    epoch = state.choose_epoch()
    return Trained(
        config,
        state.network.eval(),
        data,
        state.history,
        folder.summary() if folder.has(SUMMARY) else {},
        folder,
        epoch,
        batch=state.batch if state.best is None else 0,
    )
