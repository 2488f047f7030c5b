"""How many steps of a padded sample are its own."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


def filled(frames: Tensor) -> Tensor:
    """Return the number of steps up to each sample's last event, int64 `[B]`.

    Args:
        frames: samples, `[B, T, ...]`; a silent sample has length 0.
    """
    busy = (frames != 0).flatten(2).any(2)
    numbers = torch.arange(1, frames.shape[1] + 1)
    return (busy * numbers).amax(1)


def mask(lengths: Tensor, steps: int) -> Tensor:
    """Return where the steps are a sample's own and not padding, bool `[T, B]`.

    A network sees padding as silence: its neurons go on leaking without input, and a mean over
    time counts these steps too. The mask leaves them out where that is not wanted, such as in
    `(voltage * mask[..., None]).sum(0) / lengths[:, None]`.

    Args:
        lengths: steps that each sample fills, integers `[B]`.
        steps: number of time steps T.

    Raises:
        SigpropError: if a length is below 0 or above `steps`.
    """
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise SigpropError(
            f"lengths lie from {int(lengths.min())} to {int(lengths.max())}; expected 0 to {steps}"
        )
    return torch.arange(steps, device=lengths.device)[:, None] < lengths
