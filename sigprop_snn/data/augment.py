"""Random changes of training samples that keep the class."""

from __future__ import annotations

from dataclasses import dataclass

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

    Raises:
        SigpropError: if a number is out of range.
    """

    shift: int | None = None
    mirror: bool | None = None
    drop: float = 0.0

    def __post_init__(self) -> None:
        if self.shift is not None:
            whole("shift", self.shift, 0)
        if self.mirror is not None:
            truth("mirror", self.mirror)
        number("drop", self.drop, "a fraction of the events in [0, 1)", lambda x: 0 <= x < 1)

    def resolved(self, *, mirror: bool) -> Augment:
        """Return the augmentation with defaults in place of None.

        Args:
            mirror: whether the data set may be mirrored.
        """
        mirrored = mirror if self.mirror is None else self.mirror
        shift = self.shift
        if shift is None:
            shift = SHIFT_WITH_MIRROR if mirrored else SHIFT
        return Augment(shift, mirrored, self.drop)


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
