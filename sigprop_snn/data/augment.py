"""Random changes of training samples that keep the class."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from sigprop_snn.arguments import number, truth, whole
from sigprop_snn.device import sent

SHIFT = 2
SHIFT_WITH_MIRROR = 4


@dataclass(frozen=True)
class Augment:
    """Random changes of training samples, drawn anew in every epoch.

    Attributes:
        shift: largest shift in pixels in each direction; samples that are one row of channels
            shift only along the row. None uses 4 for data sets that are also mirrored and 2
            otherwise.
        mirror: whether to mirror half of the samples, left to right. None mirrors only data sets
            whose classes allow it: pictures of objects, but not digits, gestures or sounds.
        drop: fraction of the events to drop, independently of each other, in [0, 1).
        rotate: largest rotation in degrees, in both directions, in [0, 180].
        scale: largest change of width and of height, each as a fraction: the factors are between
            `1 / (1 + scale)` and `1 + scale`.
        shear: largest shear: rows move sideways by up to this multiple of their distance from the
            centre.

    Samples that are one row of channels can't be rotated, scaled or sheared.

    Raises:
        SigpropError: if a number is out of range.
    """

    shift: int | None = None
    mirror: bool | None = None
    drop: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        if self.shift is not None:
            whole("shift", self.shift, 0)
        if self.mirror is not None:
            truth("mirror", self.mirror)
        number("drop", self.drop, "a fraction of the events in [0, 1)", lambda x: 0 <= x < 1)
        number("rotate", self.rotate, "degrees in [0, 180]", lambda x: 0 <= x <= 180)
        for name in ("scale", "shear"):
            number(name, getattr(self, name), "a number in [0, 1]", lambda x: 0 <= x <= 1)

    @property
    def warps(self) -> bool:
        """Whether samples are rotated, scaled or sheared."""
        return bool(self.rotate or self.scale or self.shear)

    def resolved(self, *, mirror: bool) -> Augment:
        """Return the augmentation with defaults in place of None.

        Args:
            mirror: whether the data set may be mirrored.
        """
        mirrored = mirror if self.mirror is None else self.mirror
        shift = self.shift
        if shift is None:
            shift = SHIFT_WITH_MIRROR if mirrored else SHIFT
        return replace(self, shift=shift, mirror=mirrored)


def shift_pictures(
    pictures: Tensor, random: torch.Generator, shift: int, *, mirror: bool = False
) -> Tensor:
    """Shift every picture at random, and mirror half of them if asked.

    Args:
        pictures: `[B, C, H, W]`; for event frames, the time steps may be channels. A picture of
            height 1 is a row, which shifts only along its length.
        random: generator of the shifts and of the mirroring, on the CPU, so that every device
            gives the same pictures.
        shift: largest shift in pixels in each direction; pixels from outside are 0.
        mirror: whether to mirror half of the pictures, left to right.

    Returns:
        New pictures of the same type and shape.
    """
    count, channels, height, width = pictures.shape
    device = pictures.device
    top, left = sent(torch.randint(2 * shift + 1, (2, count, 1), generator=random), device)
    if height == 1:
        top = torch.full_like(top, shift)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if mirror:
        mirrored = sent(torch.randint(2, (count, 1), generator=random), device).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = pad(pictures, (shift, shift, shift, shift))
    sample = torch.arange(count, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def warp_pictures(pictures: Tensor, random: torch.Generator, augment: Augment) -> Tensor:
    """Rotate, scale and shear every picture at random about its centre.

    Every new pixel takes the value of the nearest old pixel, so counts of events stay whole.

    Args:
        pictures: `[B, C, H, W]`; for event frames, the time steps may be channels.
        random: generator of the draws, on the CPU, so that every device gives the same pictures.
        augment: the largest rotation, scale and shear.

    Returns:
        New pictures of the same type and shape; pixels from outside are 0.
    """
    count, channels, height, width = pictures.shape
    draws = (2 * torch.rand(4, count, 1, 1, generator=random, dtype=torch.float64) - 1).unbind()
    angle = draws[0] * math.radians(augment.rotate)
    across, down = (torch.exp(draw * math.log1p(augment.scale)) for draw in draws[1:3])
    shear = draws[3] * augment.shear
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    # The place in the old picture of every pixel of the new one.
    column = (angle.cos() * x + angle.sin() * y) / across + shear * y + (width - 1) / 2
    row = (angle.cos() * y - angle.sin() * x) / down + (height - 1) / 2
    column, row = column.round().long(), row.round().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    place, inside = (sent(t.flatten(1)[:, None], pictures.device) for t in (place, inside))
    found = pictures.flatten(2).gather(2, place.expand(-1, channels, -1))
    return (found * inside).view_as(pictures)


def drop_events(frames: Tensor, random: torch.Generator, drop: float) -> Tensor:
    """Drop events, each with probability `drop`.

    Args:
        frames: event counts of any shape; whole numbers of any type.
        random: generator of the draws.
        drop: probability, in [0, 1).

    Returns:
        New counts of the same type and shape.
    """
    occupied = frames.nonzero(as_tuple=True)
    counts = frames[occupied].to(torch.float32)
    kept = torch.binomial(counts, torch.full_like(counts, 1 - drop), generator=random)
    result = torch.zeros_like(frames)
    result[occupied] = kept.to(frames.dtype)
    return result
