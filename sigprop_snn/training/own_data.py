"""Data from outside for a training run: a `Data`, or any batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from sigprop_snn.arguments import refused
from sigprop_snn.data import Data
from sigprop_snn.errors import SigpropError
from sigprop_snn.settings.train_config import TrainConfig

_EXPECTED = (
    "a Data, batches to learn from, or (train, test) or (train, test, validation), each an "
    "iterable of pairs (inputs [T, B, ...], labels [B]) that can be read again and again"
)
# Settings that choose how a named data set is read. They do nothing to data from outside.
_OF_NAMED_DATA = (
    "encoding",
    "augment",
    "train_samples",
    "test_samples",
    "validation",
    "size",
    "bin_width",
    "denoise",
    "merge_polarities",
    "sensor",
    "event_order",
    "time_unit",
)


def data_of(given: Any, name: str, seed: int = 0) -> Data:
    """Return data from outside as a `Data`.

    Args:
        given: a `Data`; batches to learn from and to test on; or a tuple of batches to learn from,
            to test on and, if there is a third, to validate on.
        name: the name of the data.
        seed: of the order of the samples, where batches are given.

    Raises:
        SigpropError: if it is something else, or the parts do not fit each other.
    """
    if isinstance(given, Data):
        return given
    parts: tuple[Any, ...] = given if _is_parts(given) else (given,)
    if not isinstance(given, Iterable) or isinstance(given, Tensor | str) or len(parts) > 3:
        raise refused("data", given, _EXPECTED)
    validation = parts[2] if len(parts) == 3 else None
    test = parts[1] if len(parts) > 1 else parts[0]
    return Data.from_loaders(parts[0], test, validation=validation, name=name, seed=seed)


def lacks_test_data(given: Any) -> bool:
    """Return whether data from outside are batches to learn from alone."""
    return given is not None and not isinstance(given, Data) and not _is_parts(given)


def given_data(config: TrainConfig, data: Any) -> Data | None:
    """Return the data from outside for a stored run, or None for a run of a named data set.

    Args:
        config: the run's configuration.
        data: as in `train`, or None.

    Raises:
        SigpropError: if the run needs such data and gets none, or the reverse.
    """
    if config.own_data:
        if data is None:
            raise SigpropError(
                f"the run was trained on data from outside, named {config.dataset!r}, which no "
                "command can load; expected the same data again, in Python: data=... of resume, "
                "load_run or write_report"
            )
        found = data_of(data, config.dataset, config.seed)
        if found.steps != config.steps:
            raise SigpropError(
                f"data have {found.steps} steps, but the run learned with {config.steps}; expected "
                "the same data"
            )
        return found
    if data is not None:
        raise SigpropError(
            f"data is given, but the run was trained on the data set {config.dataset!r}; expected "
            "no data"
        )
    return None


def config_for(config: TrainConfig, data: Data) -> TrainConfig:
    """Return the settings of a run with data from outside, which decide steps and batch size.

    Raises:
        SigpropError: if a setting can't apply to these data.
    """
    plain = TrainConfig(config.dataset)
    for name in _OF_NAMED_DATA:
        if getattr(config, name) not in (getattr(plain, name), False):
            raise SigpropError(
                f"{name} is {getattr(config, name)!r}, but the data come from outside; expected "
                f"data that are prepared already, and no {name}"
            )
    batch_size = len(next(iter(data.train))[1])
    for name, value in (("steps", data.steps), ("batch_size", batch_size)):
        if getattr(config, name) not in (None, value):
            raise SigpropError(
                f"{name} is {getattr(config, name)}, but the data have {value}; expected no "
                f"{name}: data from outside decide it"
            )
    return replace(config, own_data=True, augment=False, steps=data.steps, batch_size=batch_size)


def _is_parts(given: Any) -> bool:
    """Return whether data are a tuple of batches, not batches: a batch holds arrays."""
    return (
        isinstance(given, tuple)
        and len(given) > 1
        and not any(
            isinstance(part, tuple | list) and len(part) == 2 and _is_array(part[0])
            for part in given
        )
    )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")
