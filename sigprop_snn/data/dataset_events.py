"""The sensor and the frames of torch and tonic datasets that contain events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sigprop_snn.arguments import whole
from sigprop_snn.data.events.extent import CURES, Extent, common_extent
from sigprop_snn.data.events.frames import Frames, Sensor, scaled_down
from sigprop_snn.data.samples import EventFrames, each_sample, events_of, is_events


def event_frames(
    datasets: Mapping[str, Any], frames: Frames | None, steps: int, name: str
) -> EventFrames | None:
    """Return how the events of datasets become frames; None if they contain no events.

    Every recording is read once if the size of the sensor or the duration is not known.

    Args:
        datasets: the datasets by the name of their split, checked; "train" is among them.
        frames: the choices of the user; None takes no events.
        steps: number of time steps T.
        name: name of the data, for messages.

    Raises:
        SigpropError: if a recording can't be used, or a few differ too much from the others.
    """
    if frames is None:
        return None
    dataset = datasets["train"]
    first = next(iter(each_sample(dataset)), None)
    events = first[0] if isinstance(first, tuple | list) and first else None
    if not is_events(events):
        return None
    size, end = _sensor_size(dataset, frames), frames.end_of(steps)
    if size is None or end is None:
        found = common_extent(_extents(datasets, name, known=size is not None), CURES)
        size, end = size or (found.width, found.height, 2), end or found.duration
    assert events is not None
    line = "y" not in events.dtype.names
    sensor = Sensor(size, end, from_first=True, counts="int16", line=line)
    return EventFrames(sensor, frames if line else scaled_down(frames, sensor), steps)


def _sensor_size(dataset: Any, frames: Frames) -> tuple[int, int, int] | None:
    if frames.sensor is not None:
        return (*frames.sensor, 2)
    own = getattr(dataset, "sensor_size", None)
    try:
        width, height, polarities = (whole("sensor_size", side) for side in own or ())
    except (TypeError, ValueError):
        return None
    return width, height, polarities


def _extents(datasets: Mapping[str, Any], name: str, *, known: bool) -> dict[str, Extent]:
    """Return the extent of each recording; width and height are 1 if the sensor is known."""
    found = {}
    for place, dataset in datasets.items():
        for number, item in enumerate(each_sample(dataset)):
            where = f"sample {number} of {place} of {name!r}"
            extent = Extent.of(events_of(item[0], where))
            found[where] = replace(extent, width=1, height=1) if known else extent
    return found
