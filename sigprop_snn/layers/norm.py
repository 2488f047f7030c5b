"""Normalisers of the current that keep a network spiking.

A scale-free comparison never asks the voltage to reach the threshold, so without a normaliser the
rates of deep layers collapse. Both normalisers here divide by *running* statistics that are held
constant in the gradient: the current stays affine in the input, and the closed form of the
voltage rule stays exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.engines import Scale

_FLOOR = 1e-6  # keeps a silent layer's first division finite


class RunningScale(nn.Module):
    """Divides a layer's current by one running number, its root mean square.

    One number a layer leaves each neuron free to be silent for most classes, which is what makes
    the rectified voltage of fully connected layers selective.

    Args:
        channels: size of the current's channel (or feature) axis, the first after the batch.
        gain: root mean square of the normalised current at the start, in units of voltage; each
            channel's gain is learned from there.
        momentum: share of a new batch in the running figure.
    """

    mean_square: Tensor
    batches: Tensor

    def __init__(self, channels: int, gain: float = 1.0, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def observe(self, current: Tensor) -> None:
        """Take currents `[T, N, C, ...]` or `[N, C, ...]` into the running figure."""
        wide = torch.promote_types(current.dtype, torch.float32)  # a sum leaves float16's range
        norm = torch.linalg.vector_norm(current.detach(), dtype=wide)
        mean_square = (norm.square() / current.numel()).to(self.mean_square)
        if not math.isfinite(mean_square):
            raise SigpropError("the current's mean square is not finite; expected smaller inputs")
        self.batches += 1
        share = (1.0 / self.batches).clamp(min=self.momentum).to(self.mean_square)
        self.mean_square.lerp_(mean_square, share)

    def forward(self, current: Tensor) -> Tensor:
        """Return the normalised current, same shape."""
        return current * self.scale(current).gain

    def scale(self, current: Tensor) -> Scale:
        """Return what the normaliser does to a current `[..., C, ...]` of this number of axes."""
        return Scale(_per_channel(self.gain * self.unit(), current))

    def unit(self) -> Tensor:
        """Return one over the running root mean square."""
        return (self.mean_square + _FLOOR).rsqrt()


class LengthNorm(nn.Module):
    """Divides every row by its root mean square, so that only its direction is left.

    A part of a synapse: it takes the length off the activity that comes in, and with it what the
    layer below was asked for, its goodness (Hinton, arXiv 2212.13345, section 2.1).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the rows of `[N, ...]` with a root mean square of 1; a silent one stays zero."""
        flat = inputs.flatten(1)
        length = torch.linalg.vector_norm(flat, dim=1, keepdim=True) / math.sqrt(flat.shape[1])
        scaled: Tensor = flat / length.clamp(min=_FLOOR)
        return scaled.view_as(inputs)


class RunningNorm(nn.Module):
    """Shifts and divides each channel by its running mean and standard deviation.

    Args:
        channels: size of the current's channel axis, the first after the batch.
        gain: standard deviation of the normalised current at the start, learned per channel.
        shift: mean of the normalised current at the start, learned per channel.
        momentum: share of a new batch in the running figures.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(
        self, channels: int, gain: float = 1.0, shift: float = 0.0, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.shift = nn.Parameter(torch.full((channels,), shift))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def observe(self, current: Tensor) -> None:
        """Take a batch's current `[N, C, ...]` into the running figures."""
        mean, variance = _channel_figures(current.detach())
        if not torch.isfinite(variance).all():
            raise SigpropError("the current's variance is not finite; expected smaller inputs")
        self.batches += 1
        share = (1.0 / self.batches).clamp(min=self.momentum).to(self.mean)
        self.mean.lerp_(mean.to(self.mean), share)
        self.variance.lerp_(variance.to(self.variance), share)

    def forward(self, current: Tensor) -> Tensor:
        """Return the normalised current, same shape."""
        gain, offset = self.scale(current)
        assert offset is not None
        return torch.addcmul(offset, current, gain)

    def scale(self, current: Tensor) -> Scale:
        """Return what the normaliser does to a current `[N, C, ...]` of this number of axes."""
        gain = self.gain * self.unit()
        offset = self.shift - gain * self.mean
        return Scale(_per_channel(gain, current), _per_channel(offset, current))

    def unit(self) -> Tensor:
        """Return one over each channel's running standard deviation, `[C]`."""
        return (self.variance + _FLOOR).rsqrt()


def _channel_figures(current: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of `[N, C, ...]`."""
    wide = torch.promote_types(current.dtype, torch.float32)  # a sum leaves float16's range
    if current.dim() == 4 and current.is_contiguous(memory_format=torch.channels_last):
        lines = current.movedim(1, -1).flatten(2).flatten(0, 1).to(wide)  # all channels of a place
        sums = (each.sum(0).view(-1, current.shape[1]).sum(0) for each in (lines, lines.square()))
        mean, square = (each * current.shape[1] / current.numel() for each in sums)
        return mean, (square - mean.square()).clamp(min=0)
    flat = current.flatten(2) if current.dim() > 2 else current[:, :, None]
    # Sums of squares row by row: many times faster than a variance over separated axes.
    mean = flat.mean(2, dtype=wide).mean(0)
    square = torch.linalg.vector_norm(flat, dim=2, dtype=wide).square().mean(0) / flat.shape[2]
    return mean, (square - mean.square()).clamp(min=0)


def _per_channel(values: Tensor, current: Tensor) -> Tensor:
    return values.view(-1, *[1] * (current.dim() - 2))
