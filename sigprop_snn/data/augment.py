"""Random changes of training pictures that leave the class as it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def shift_and_flip(pictures: Tensor, random: torch.Generator, shift: int = 4) -> Tensor:
    """Shifts every picture by up to `shift` pixels each way and mirrors half of them.

    Args:
        pictures: `[B, C, H, W]`.
        random: generator of the shifts and the flips.
        shift: largest shift in pixels; what enters from outside is 0.

    Returns:
        New pictures in the type and shape of the old.
    """
    count, channels, height, width = pictures.shape
    top, left = torch.randint(2 * shift + 1, (2, count, 1), generator=random)
    mirror = torch.randint(2, (count, 1), generator=random).bool()
    rows = top + torch.arange(height)
    columns = left + torch.where(mirror, torch.arange(width - 1, -1, -1), torch.arange(width))
    padded = pad(pictures, (shift, shift, shift, shift))
    sample = torch.arange(count).view(-1, 1, 1, 1)
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
