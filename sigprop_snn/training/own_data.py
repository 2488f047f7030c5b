"""Data from outside for a training run: a `Data`, or any batches, read once to be counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from sigprop_snn.arguments import refused
from sigprop_snn.config import TrainConfig
from sigprop_snn.data import Batches, Data
from sigprop_snn.errors import SigpropError
from sigprop_snn.network.checks import pairs
from sigprop_snn.training import randomness

_EXPECTED = (
    "a Data, batches to learn from, or (train, test) or (train, test, validation), each an "
    "iterable of pairs (inputs [T, B, ...], labels [B]) that can be read again and again"
)
# Settings that choose how a named data set is read. They do nothing to data from outside.
_OF_NAMED_DATA = ("encoding", "augment", "train_samples", "test_samples", "validation")


class OwnBatches:
    """Batches from outside. They are read once when this object is made.

    Args:
        batches: pairs (inputs `[T, B, ...]`, labels `[B]`); it can be read again and again.
        place: the name of the batches, for errors.

    Attributes:
        labels: the labels in the order of the first reading, int64 `[N]`.
        steps: number of time steps T of the first batch.
        shape: shape of one step of one sample.

    Raises:
        SigpropError: if they can be read only once, there is none, or one is no such pair.
    """

    def __init__(self, batches: Any, place: str) -> None:
        if isinstance(batches, Iterator):
            raise SigpropError(
                f"{place} is a {type(batches).__name__}, which can be read only once; expected a "
                "list, a DataLoader or another object that gives the batches again in each epoch"
            )
        self._batches, self._place = batches, place
        labels, first, self._count = [], None, 0
        for inputs, target in self:
            if first is None:
                first = inputs
            elif inputs.shape[2:] != first.shape[2:]:
                raise SigpropError(
                    f"batch {self._count} of {place} has samples of shape "
                    f"{list(inputs.shape[2:])}; expected {list(first.shape[2:])}, as in batch 0"
                )
            labels.append(target)
            self._count += 1
        if first is None:
            raise SigpropError(f"{place} gives no batch; expected at least one")
        self.labels = torch.cat(labels).cpu()
        self.steps, self.shape = len(first), tuple(first.shape[2:])

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def set_epoch(self, epoch: int) -> None:
        """Tell batches that have a `set_epoch` which pass comes next."""
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number, (inputs, labels) in enumerate(pairs(self._batches)):
            yield self._checked(number, inputs, labels)

    def _checked(self, number: int, inputs: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """Return a batch as tensors: float inputs and int64 labels."""
        place = f"batch {number} of {self._place}"
        expected = "expected inputs [T, B, ...] and labels [B] of whole numbers from 0"
        try:
            inputs, labels = torch.as_tensor(inputs), torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise SigpropError(
                f"{place} holds {type(inputs).__name__} and {type(labels).__name__}; {expected}"
            ) from error
        if inputs.ndim < 3 or labels.ndim != 1 or inputs.shape[1] != len(labels):
            hint = ""
            if labels.ndim == 1 and inputs.ndim > 2 and len(inputs) == len(labels):
                hint = " (batch first: inputs.transpose(0, 1) puts time first)"
            raise SigpropError(
                f"{place} has inputs of shape {list(inputs.shape)} and labels of shape "
                f"{list(labels.shape)}; {expected}{hint}"
            )
        if labels.is_floating_point() or labels.is_complex() or bool((labels < 0).any()):
            raise SigpropError(f"{place} has the labels {labels.tolist()[:8]}; {expected}")
        if not inputs.is_floating_point():
            inputs = inputs.float()
        return inputs, labels.long()


def data_of(given: Any, name: str) -> Data:
    """Return data from outside as a `Data`.

    Args:
        given: a `Data`; batches to learn from and to test on; or a tuple of batches to learn from,
            to test on and, if there is a third, to validate on.
        name: the name of the data.

    Raises:
        SigpropError: if it is something else, or the parts do not fit each other.
    """
    if isinstance(given, Data):
        return replace(
            given,
            train=_counted(given.train, "data.train"),
            test=_counted(given.test, "data.test"),
            validation=None
            if given.validation is None
            else _counted(given.validation, "data.validation"),
        )
    parts = given if _is_parts(given) else (given,)
    if not isinstance(given, Iterable) or isinstance(given, Tensor | str) or len(parts) > 3:
        raise refused("data", given, _EXPECTED)
    places = ("the training data", "the test data", "the validation data")
    made = [OwnBatches(part, place) for part, place in zip(parts, places, strict=False)]
    train, test = made[0], made[1 % len(made)]
    for other, place in zip(made[1:], places[1:], strict=False):
        if other.shape != train.shape:
            raise SigpropError(
                f"{place} have samples of shape {list(other.shape)}; expected "
                f"{list(train.shape)}, as in the training data"
            )
    classes = 1 + max(int(part.labels.max()) for part in made)
    if classes < 2:
        raise SigpropError("data holds the label 0 only; expected two classes or more")
    return Data(
        name=name,
        train=cast(Batches, train),
        test=cast(Batches, test),
        validation=cast(Batches, made[2]) if len(made) == 3 else None,
        shape=train.shape,
        classes=tuple(str(label) for label in range(classes)),
        steps=train.steps,
    )


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
        with randomness.seeded(config.seed):
            return data_of(data, config.dataset)
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


def _counted(batches: Any, place: str) -> Batches:
    """Return batches whose samples and labels are known."""
    known = all(hasattr(batches, name) for name in ("samples", "labels", "set_epoch", "__len__"))
    return cast(Batches, batches if known else OwnBatches(batches, place))
