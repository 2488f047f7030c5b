"""Samples of a torch or tonic dataset, one by one, as tensors for a `DataLoader`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sigprop_snn.arguments import refused
from sigprop_snn.data.events.frames import Frames, Sensor, bin_events
from sigprop_snn.data.events.recording import Events, EventsFault, checked_events, outside_sensor
from sigprop_snn.data.loaders import as_values
from sigprop_snn.errors import SigpropError

_DATASET = "a dataset: one with len and [], or one that can be iterated again and again"


@dataclass(frozen=True)
class EventFrames:
    """Turns events into frames.

    Attributes:
        sensor: the sensor that recorded the events.
        frames: how they become frames.
        steps: number of time steps T.
    """

    sensor: Sensor
    frames: Frames
    steps: int

    def __call__(self, events: Events, place: str) -> Tensor:
        """Return the frames of a recording, `[T, P, H, W]`, or `[T, P, W]` for a line."""
        fault = outside_sensor(events, self.sensor.size)
        if fault:
            raise SigpropError(f"{place} {fault[0]}; expected {fault[1]}")
        try:
            return torch.from_numpy(bin_events(events, self.sensor, self.frames, self.steps))
        except SigpropError as error:
            raise SigpropError(f"in {place}, {error}") from error


@dataclass(frozen=True)
class SampleReader:
    """How a sample of a dataset becomes a tensor and a label.

    Attributes:
        place: name of the dataset, for messages.
        classes: names of the classes, which a label may be; None accepts numbers only.
        frames: turns events into frames; None refuses events.
    """

    place: str
    classes: Sequence[str] | None = None
    frames: EventFrames | None = None

    def sample(self, item: Any, number: int) -> tuple[Tensor, int]:
        """Return the values and the label of a sample.

        Raises:
            SigpropError: if it is no pair of values and a label.
        """
        place = f"sample {number} of {self.place}"
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise refused(place, item, "a pair of values and a label")
        return self._values(item[0], place), self._label(item[1], place)

    def _values(self, value: Any, place: str) -> Tensor:
        if is_events(value):
            if self.frames is None:
                raise SigpropError(
                    f"{place} contains events; expected numbers, or Data.from_tonic for events"
                )
            return self.frames(events_of(value, place, self.frames.sensor.size), place)
        if hasattr(value, "convert") and hasattr(value, "mode"):  # a picture of Pillow
            return picture_values(value)
        return as_values(value, place)

    def _label(self, label: Any, place: str) -> int:
        if isinstance(label, str):
            if self.classes is None or label not in self.classes:
                raise refused(f"{place}: label", label, "a number, or a name among classes=")
            return list(self.classes).index(label)
        single = label.item() if hasattr(label, "item") and np.size(label) == 1 else label
        try:
            return operator.index(single)
        except TypeError:
            raise refused(f"{place}: label", label, "a whole number from 0") from None


class MapSamples(Dataset[Any]):
    """The samples of a map-style dataset."""

    def __init__(self, dataset: Any, reading: SampleReader) -> None:
        self._dataset, self._reading = dataset, reading

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self._reading.sample(self._dataset[number], number)


class StreamSamples(IterableDataset[Any]):
    """The samples of an iterable dataset."""

    def __init__(self, dataset: Any, reading: SampleReader) -> None:
        self._dataset, self._reading = dataset, reading

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for number, item in enumerate(self._dataset):
            yield self._reading.sample(item, number)


@dataclass(frozen=True)
class Collate:
    """Joins samples to a batch.

    Attributes:
        place: name of the dataset, for messages.
        timed: whether samples have a time axis first; shorter ones get empty steps at the end.
    """

    place: str
    timed: bool

    def __call__(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Return the values `[B, ...]` and the labels `[B]` of a batch."""
        values = [value for value, _ in samples]
        if self.timed and all(value.ndim > 1 for value in values):
            steps = max(len(value) for value in values)
            values = [
                torch.cat([value, value.new_zeros(steps - len(value), *value.shape[1:])])
                for value in values
            ]
        shapes = {tuple(value.shape) for value in values}
        if len(shapes) > 1:
            raise SigpropError(
                f"samples of {self.place} have the shapes "
                f"{', '.join(str(list(shape)) for shape in sorted(shapes))}; expected one shape"
            )
        return torch.stack(values), torch.tensor([label for _, label in samples])


def loader_of(
    dataset: Any,
    reading: SampleReader,
    *,
    timed: bool,
    batch_size: int,
    workers: int,
    shuffle: bool,
) -> DataLoader[Any]:
    """Return a `DataLoader` of a dataset.

    Args:
        dataset: map-style (`len` and `[]`) or iterable.
        reading: how a sample is read.
        timed: whether samples have a time axis.
        batch_size: samples in a batch.
        workers: worker processes. An iterable dataset has at most one, because several would
            repeat its samples.
        shuffle: whether to shuffle a map-style dataset in every epoch.
    """
    collate = Collate(reading.place, timed)
    if is_map_style(dataset):
        return DataLoader(
            MapSamples(dataset, reading),
            batch_size,
            shuffle=shuffle,
            num_workers=workers,
            collate_fn=collate,
        )
    return DataLoader(
        StreamSamples(dataset, reading),
        batch_size,
        num_workers=min(workers, 1),
        collate_fn=collate,
    )


def checked_dataset(name: str, dataset: Any) -> Any:
    """Return a dataset unchanged.

    Raises:
        SigpropError: if it is no dataset, is empty, or can be read only once.
    """
    if isinstance(dataset, Iterator | str | bytes | Mapping | type):
        raise refused(name, dataset, _DATASET)
    if is_map_style(dataset):
        if not len(dataset):
            raise refused(name, dataset, "a dataset with one sample or more")
    elif not isinstance(dataset, Iterable):
        raise refused(name, dataset, _DATASET)
    return dataset


def is_map_style(dataset: Any) -> bool:
    """Return whether a dataset has a length and numbered samples."""
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def each_sample(dataset: Any) -> Iterable[Any]:
    """Return the samples of a dataset in order."""
    if is_map_style(dataset):
        return map(dataset.__getitem__, range(len(dataset)))
    samples: Iterable[Any] = dataset
    return samples


def is_events(value: Any) -> bool:
    """Return whether a sample is a structured array of events, as tonic gives them."""
    names = getattr(getattr(value, "dtype", None), "names", None)
    return names is not None and {"x", "t"} <= set(names)


def events_of(value: Any, place: str, sensor: tuple[int, int, int] | None = None) -> Events:
    """Check a structured array of events; without y or p, these are 0.

    Raises:
        SigpropError: if a value can't be part of a recording.
    """
    names = value.dtype.names
    zero = np.zeros(len(value), np.int64)
    y = value["y"] if "y" in names else zero
    p = value["p"] if "p" in names and (sensor is None or sensor[2] > 1) else zero
    try:
        return checked_events(value["x"], y, value["t"], p)
    except EventsFault as error:
        raise SigpropError(f"{place} {error.fault}; expected {error.expected}") from error


def picture_values(picture: Any) -> Tensor:
    """Return a picture of Pillow as uint8 `[C, H, W]`, with one channel if it is grey."""
    from sigprop_snn.data.sets.pictures import as_people_see

    grey = picture.mode in ("1", "L", "F") or picture.mode.startswith("I")
    seen = as_people_see(picture)
    pixels = np.array(seen.convert("L") if grey else seen)
    return torch.from_numpy(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1)
