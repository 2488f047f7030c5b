"""Random changes of training pictures that leave the class as it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def shifted(
    pictures: Tensor, random: torch.Generator, shift: int, *, mirror: bool = False
) -> Tensor:
    """Shifts every picture by up to `shift` pixels each way, and may mirror half of them.

    Args:
        pictures: `[B, C, H, W]`; of event frames, the steps may lie among the channels.
        random: generator of the shifts and the flips.
        shift: largest shift in pixels; what enters from outside is 0.
        mirror: whether to mirror half of the pictures, left to right.

    Returns:
        New pictures in the type and shape of the old.
    """
    count, channels, height, width = pictures.shape
    top, left = torch.randint(2 * shift + 1, (2, count, 1), generator=random)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if mirror:
        mirrored = torch.randint(2, (count, 1), generator=random).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = pad(pictures, (shift, shift, shift, shift))
    sample = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
