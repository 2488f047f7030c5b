"""The sensor and the duration of recordings that state neither."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sigprop_snn.data.events.recording import Events
from sigprop_snn.errors import SigpropError

LONGER = 3.0
"""A recording this many times as long as the others is refused."""

WIDER = 1.5
"""A recording that needs a sensor this many times as wide or high as the others is refused."""

SHORTER = 50.0
"""A warning names a recording that the others are this many times as long as."""

CURES = {
    "width": "the sensor: Frames(sensor=(346, 260)) or --sensor 346x260",
    "height": "the sensor: Frames(sensor=(346, 260)) or --sensor 346x260",
    "duration": "the duration of a step in microseconds: Frames(bin_width=...) or --bin-width",
}
"""What decides each number in place of the recordings, for messages."""

_OUTLIERS = 50  # one recording of so many may be an outlier, and at least one


@dataclass(frozen=True)
class Extent:
    """The size and the duration that include every event of a recording, or of several.

    Attributes:
        width: pixels.
        height: pixels.
        duration: microseconds from the first event to the end of the longest recording.
    """

    width: int
    height: int
    duration: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}; expected an int, 1 or more")

    @classmethod
    def of(cls, events: Events) -> Extent:
        """Return the extent of one recording, with times that rise."""
        return cls(
            int(events["x"].max()) + 1,
            int(events["y"].max()) + 1,
            int(events["t"][-1]) - int(events["t"][0]) + 1,
        )


def common_extent(extents: Mapping[str, Extent], cures: Mapping[str, str]) -> Extent:
    """Return the extent that includes all recordings, unless a few odd ones would decide it.

    Args:
        extents: the extent of each recording, by the name of its place.
        cures: what to give for a width, a height or a duration of your choice, for messages.

    Raises:
        SigpropError: if one recording is much longer or needs a much larger sensor than the others.
    """
    found = {}
    for name, factor in (("width", WIDER), ("height", WIDER), ("duration", LONGER)):
        values = {place: getattr(extent, name) for place, extent in extents.items()}
        unit = " us" if name == "duration" else ""
        highest = sorted(values.values(), reverse=True)
        usual = highest[min(max(1, len(highest) // _OUTLIERS), len(highest) - 1)]
        odd = max(values, key=lambda place: values[place])
        if values[odd] > factor * usual:
            raise SigpropError(
                f"{odd} has a {name} of {values[odd]}{unit}, and the other recordings need at most "
                f"{usual}{unit}; expected similar recordings. Repair or remove it, or give "
                f"{cures[name]}"
            )
        if name == "duration":
            _warn_of_short(values, usual)
        found[name] = highest[0]
    return Extent(**found)


def _warn_of_short(durations: Mapping[str, int], usual: int) -> None:
    short = [place for place, value in durations.items() if value * SHORTER < usual]
    if short:
        warnings.warn(
            f"{len(short)} recordings last less than a {SHORTER:g}th of the others, such as "
            f"{short[0]} with {durations[short[0]]} us (others: up to {usual} us); expected the "
            "same unit of time in all",
            stacklevel=3,
        )
