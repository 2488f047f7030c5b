"""Random changes of training samples that leave the class as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from sigprop_snn.errors import SigpropError

MIRRORED_SHIFT = 4
SHIFT = 2


@dataclass(frozen=True)
class Augment:
    """Random changes of training samples, new ones in every epoch.

    Attributes:
        shift: largest shift in pixels each way; of a row of channels, along the row. None takes 4
            where samples are mirrored too and 2 elsewhere.
        mirror: whether to mirror half of the samples, left to right. None mirrors where the data
            set's classes allow it: pictures of things, never digits, gestures or sounds.
        drop: share of the events that is left out, each on its own, in [0, 1).
    """

    shift: int | None = None
    mirror: bool | None = None
    drop: float = 0.0

    def __post_init__(self) -> None:
        if self.shift is not None and self.shift < 0:
            raise SigpropError(f"shift is {self.shift}; expected 0 pixels or more")
        if not 0 <= self.drop < 1:
            raise SigpropError(f"drop is {self.drop}; expected a share of the events in [0, 1)")

    def settled(self, *, mirror: bool) -> Augment:
        """Return the choice with nothing open, for a data set that may be mirrored or not."""
        mirrored = mirror if self.mirror is None else self.mirror
        shift = self.shift
        if shift is None:
            shift = MIRRORED_SHIFT if mirrored else SHIFT
        return Augment(shift, mirrored, self.drop)


def shifted(
    pictures: Tensor, random: torch.Generator, shift: int, *, mirror: bool = False
) -> Tensor:
    """Shift every picture by up to `shift` pixels each way, and mirror half of them if asked.

    Args:
        pictures: `[B, C, H, W]`; of event frames, the steps may lie among the channels. A picture
            of height 1 is a row, which is shifted along itself alone.
        random: generator of the shifts and the flips.
        shift: largest shift in pixels; what enters from outside is 0.
        mirror: whether to mirror half of the pictures, left to right.

    Returns:
        New pictures in the type and shape of the old.
    """
    count, channels, height, width = pictures.shape
    top, left = torch.randint(2 * shift + 1, (2, count, 1), generator=random)
    if height == 1:
        top = torch.full_like(top, shift)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if mirror:
        mirrored = torch.randint(2, (count, 1), generator=random).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = pad(pictures, (shift, shift, shift, shift))
    sample = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def thinned(frames: Tensor, random: torch.Generator, drop: float) -> Tensor:
    """Leave out events, each with probability `drop`.

    Args:
        frames: counts of events, in any shape; whole numbers in any type.
        random: generator of the draw.
        drop: share that is left out, in [0, 1).

    Returns:
        New counts in the type and shape of the old.
    """
    there = frames.nonzero(as_tuple=True)
    counts = frames[there].to(torch.float32)
    left = torch.binomial(counts, torch.full_like(counts, 1 - drop), generator=random)
    thin = torch.zeros_like(frames)
    thin[there] = left.to(frames.dtype)
    return thin
