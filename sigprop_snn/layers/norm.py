"""Normalisers that keep a network spiking.

A scale-free loss does not make the voltage reach the threshold, so without a normaliser the rates
of deep layers collapse. `RunningScale` and `RunningNorm` divide by *running* statistics, without
their gradient: the current stays affine in the input, and the voltage rule's closed form stays
exact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import number, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.engines import Scale
from sigprop_snn.neurons.engines.late import refuse_if
from sigprop_snn.shard import mean_over_batch

_FLOOR = 1e-6  # avoids division by zero in a silent layer


def _momentum(value: float) -> float:
    return number("momentum", value, "a number > 0 and <= 1", lambda x: 0 < x <= 1)


class RunningScale(nn.Module):
    """Divides a layer's current by its running root mean square, one number per layer.

    With one number per layer, each neuron may stay silent for most classes. This makes the
    rectified voltage of fully connected layers selective.

    Args:
        channels: size of the current's channel (or feature) axis, the first after the batch.
        gain: initial root mean square of the normalised current, in units of voltage; the gain
            is learned per channel.
        momentum: weight of a new batch in the running mean square.
    """

    mean_square: Tensor
    batches: Tensor

    def __init__(self, channels: int, gain: float = 1.0, momentum: float = 0.1) -> None:
        super().__init__()
        channels, gain = whole("channels", channels), number("gain", gain)
        self.momentum = _momentum(momentum)
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def observe(self, current: Tensor) -> None:
        """Update the running mean square with currents `[T, N, C, ...]` or `[N, C, ...]`."""
        wide = torch.promote_types(current.dtype, torch.float32)  # a sum may overflow float16
        norm = torch.linalg.vector_norm(current.detach(), dtype=wide)
        kept, numbers = self.mean_square, current.numel()
        mean_square = mean_over_batch(norm.square() / max(1, numbers), numbers).to(kept)
        refuse_if(
            lambda: ~torch.isfinite(mean_square) if mean_square.is_cuda
            else not math.isfinite(mean_square),
            lambda: _not_finite("mean square"),
            current.device,
        )  # fmt: skip
        batches = self.batches.add_(1)
        kept.lerp_(mean_square, _newest_weight(batches, self.momentum))

    def forward(self, current: Tensor) -> Tensor:
        """Return the normalised current, same shape."""
        return current * self.scale(current).gain

    def scale(self, current: Tensor) -> Scale:
        """Return the gain for a current `[..., C, ...]` with this number of axes."""
        return Scale(_per_channel(self.gain * self.unit(), current))

    def unit(self) -> Tensor:
        """Return 1 / the running root mean square."""
        return (self.mean_square + _FLOOR).rsqrt()


class RunningMean(nn.Module):
    """The running mean of a block's input: one number a presynaptic channel.

    It is known before the batch, so a row can learn by itself: m is a slow trace of the presynaptic
    neuron (or map), and needs no other row.

    Args:
        channels: number of presynaptic neurons or maps.
        momentum: weight of a new batch in the mean.
    """

    mean: Tensor
    batches: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def observe(self, row: Tensor) -> None:
        """Take the mean row of a batch into the mean, `[C, ...]`, or `[K]` in any shape."""
        whole = row.numel() == len(self.mean)
        mean = row.flatten() if whole else row.flatten(1).mean(1)
        batches = self.batches.add_(1)
        self.mean.lerp_(mean.to(self.mean), _newest_weight(batches, self.momentum))

    def row(self, like: Tensor) -> Tensor:
        """Return the mean in the shape of a row, `[C, ...]`: the same at every position."""
        if like.numel() == len(self.mean):
            return self.mean.view_as(like).to(like)
        return self.mean.view(-1, *[1] * (like.dim() - 1)).expand_as(like).to(like)


class LengthNorm(nn.Module):
    """Divides every row by its root mean square, so that only the direction is left.

    It is part of a synapse: without the length of the incoming activity, the layer cannot use the
    goodness of the layer below (Hinton, arXiv 2212.13345, section 2.1).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the rows of `[N, ...]` with root mean square 1; a silent row stays zero."""
        flat = inputs.flatten(1)
        length = torch.linalg.vector_norm(flat, dim=1, keepdim=True) / math.sqrt(flat.shape[1])
        scaled: Tensor = flat / length.clamp(min=_FLOOR)
        return scaled.view_as(inputs)


class RunningNorm(nn.Module):
    """Subtracts each channel's running mean and divides by its running standard deviation.

    Args:
        channels: size of the current's channel axis, the first after the batch.
        gain: initial standard deviation of the normalised current, learned per channel.
        shift: initial mean of the normalised current, learned per channel.
        momentum: weight of a new batch in the running statistics.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(
        self, channels: int, gain: float = 1.0, shift: float = 0.0, momentum: float = 0.1
    ) -> None:
        super().__init__()
        channels, gain = whole("channels", channels), number("gain", gain)
        self.momentum = _momentum(momentum)
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.shift = nn.Parameter(torch.full((channels,), number("shift", shift)))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def observe(self, current: Tensor) -> None:
        """Update the running statistics with a batch's current `[N, C, ...]`."""
        self.take(_channel_statistics(current.detach()), len(current))

    def take(self, statistics: Tensor, count: int) -> None:
        """Update the running statistics with mean and mean square of every channel, `[2, C]`.

        Args:
            statistics: of the channels.
            count: how many currents `[C, ...]` they are of.
        """
        mean, square = mean_over_batch(statistics, count)
        variance = torch.addcmul(square, mean, mean, value=-1.0).clamp_(min=0)
        refuse_if(
            lambda: ~torch.isfinite(variance.sum()) if variance.is_cuda
            else not math.isfinite(variance.sum()),
            lambda: _not_finite("variance"),
            statistics.device,
        )  # fmt: skip
        weight = _newest_weight(self.batches.add_(1), self.momentum)
        self.mean.lerp_(mean.to(self.mean), weight)
        self.variance.lerp_(variance.to(self.variance), weight)

    def forward(self, current: Tensor) -> Tensor:
        """Return the normalised current, same shape."""
        gain, offset = self.scale(current)
        assert offset is not None
        return torch.addcmul(offset, current, gain)

    def scale(self, current: Tensor) -> Scale:
        """Return gain and offset for a current `[N, C, ...]` with this number of axes."""
        gain = self.gain * self.unit()
        offset = self.shift - gain * self.mean
        return Scale(_per_channel(gain, current), _per_channel(offset, current))

    def unit(self) -> Tensor:
        """Return 1 / each channel's running standard deviation, `[C]`."""
        return (self.variance + _FLOOR).rsqrt()


def _channel_statistics(current: Tensor) -> Tensor:
    """Return mean and mean square of every channel of `[N, C, ...]`, `[2, C]`."""
    wide = torch.promote_types(current.dtype, torch.float32)  # a sum may overflow float16
    if not len(current):  # a shard of a batch without an observed row
        return current.new_zeros(2, current.shape[1], dtype=wide)
    if current.dim() == 4 and current.is_contiguous(memory_format=torch.channels_last):
        lines = current.movedim(1, -1).flatten(2).flatten(0, 1).to(wide)  # one row per position
        sums = (each.sum(0).view(-1, current.shape[1]).sum(0) for each in (lines, lines.square()))
        return torch.stack([each * current.shape[1] / current.numel() for each in sums])
    if current.dim() == 2:
        current = current.to(wide)
        return torch.stack([current.mean(0), current.square().mean(0)])
    flat = current.flatten(2)
    # Sums of squares per row: much faster than a variance over axes that are not adjacent.
    mean = flat.mean(2, dtype=wide).mean(0)
    square = torch.linalg.vector_norm(flat, dim=2, dtype=wide).square().mean(0) / flat.shape[2]
    return torch.stack([mean, square])


def _newest_weight(batches: Tensor, momentum: float) -> Any:
    """Return the weight of the newest batch in running means; reading it would hold up a GPU."""
    if batches.is_cuda:
        return (1.0 / batches).clamp(min=momentum)
    return max(1.0 / int(batches), momentum)


def _not_finite(figure: str) -> SigpropError:
    return SigpropError(f"the current's {figure} is not finite; expected smaller inputs")


def _per_channel(values: Tensor, current: Tensor) -> Tensor:
    return values if current.dim() == 2 else values.view(-1, *[1] * (current.dim() - 2))
