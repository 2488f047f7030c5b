"""A run folder read back."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from sigprop_snn.errors import SigpropError
from sigprop_snn.training import RunFolder, TrainConfig, Trained, build_network, load_checkpoint
from sigprop_snn.training.folder import CHECKPOINT, CONFIG
from sigprop_snn.training.loop import _load


def load_run(path: Path, *, data_root: Path | None = None) -> Trained:
    """Return a run from its folder."""
    try:
        settings = json.loads((path / CONFIG).read_text())
        known = {f.name for f in fields(TrainConfig)}
        settings = {k: v for k, v in settings.items() if k in known}
        settings["data_root"] = data_root or Path(settings["data_root"])
        config = TrainConfig(**settings).resolved()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SigpropError(f"{CONFIG}: {error}") from error
    state = load_checkpoint(path / CHECKPOINT)
    data = _load(config)
    network = build_network(config, data.shape, len(data.classes))
    network.load_state_dict(state["network"])
    return Trained(network.eval(), data, [], {}, RunFolder(path))
