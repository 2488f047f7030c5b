"""The flags of `train`, in groups: the help shows a box for each."""

# The command line imports this file for its help: import nothing here that takes seconds.

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import Field, field, fields, make_dataclass
from typing import Any, get_type_hints

from sigprop_snn.settings.train_config import TrainConfig

GROUPS: dict[str, tuple[str, ...]] = {
    "model": (
        "rule", "network", "sources", "neuron", "surrogate", "signal", "loss", "predict",
    ),
    "data": (
        "dataset", "steps", "encoding", "augment", "train_samples", "test_samples", "validation",
        "data_root", "size", "bin_width", "denoise", "merge_polarities", "sensor", "event_order",
        "time_unit", "own_data",
    ),
    "optimisation": (
        "epochs", "batch_size", "learning_rate", "optimizer", "schedule", "weight_decay",
        "layer_rates", "update", "patience", "precision",
    ),
    "run": ("seed", "init_from", "out", "device", "graph", "tensorboard", "save_every"),
}  # fmt: skip
"""Every setting of `TrainConfig`, by the group of its flag."""


def group(name: str) -> Any:
    """Return a dataclass with the settings of one group, each as in `TrainConfig`."""
    hints = get_type_hints(TrainConfig, include_extras=True)
    settings = {f.name: f for f in fields(TrainConfig)}
    doc = inspect.cleandoc(TrainConfig.__doc__ or "")
    attributes = doc[doc.index("Attributes:") :]
    return make_dataclass(
        name,
        [(each, hints[each], _default(settings[each])) for each in GROUPS[name]],
        namespace={"__doc__": f"The settings of {name}.\n\n{attributes}"},
        frozen=True,
    )


def _default(setting: Field[Any]) -> Any:
    return field(default=setting.default, default_factory=setting.default_factory)  # type: ignore[call-overload]


DATA, MODEL, OPTIMISATION, RUN = (group(name) for name in ("data", "model", "optimisation", "run"))


def grouped(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the groups by name with settings of an earlier run as their defaults."""
    kinds = {"data": DATA, "model": MODEL, "optimisation": OPTIMISATION, "run": RUN}
    return {
        name: kind(**{each: settings[each] for each in GROUPS[name] if each in settings})
        for name, kind in kinds.items()
    }


def joined(*groups: Any) -> TrainConfig:
    """Return the settings of all groups as one configuration."""
    return TrainConfig(**{name: value for each in groups for name, value in vars(each).items()})
