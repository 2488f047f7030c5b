"""Moving a batch to where it is computed on."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(inputs: Tensor, device: torch.device) -> Tensor:
    """Move `[T, B, ...]` to a device; an input that is constant in time moves one step only."""
    if inputs.stride(0) == 0:
        return inputs[0].to(device).expand_as(inputs)
    return inputs.to(device)
