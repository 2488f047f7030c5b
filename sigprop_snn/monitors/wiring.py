"""The operations that each input value of a synapse causes: its fan-out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import RunningNorm, RunningScale
from sigprop_snn.neurons import OneToOne
from sigprop_snn.neurons.module_kinds import BATCH_NORMS, WEIGHTED

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_WEIGHTS = (*WEIGHTED, OneToOne)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
# A constant scale and shift per channel can be merged into the weights before or the threshold.
_FOLDED = (RunningScale, RunningNorm, *BATCH_NORMS)
# These compute their statistics from the current at every step.
_MEASURING = (
    nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
_MACS_PER_NORMALISED_VALUE = 2  # one for the variance, one for scale and shift


@dataclass(frozen=True)
class Wiring:
    """The operations of a synapse in one step, for one sample.

    Attributes:
        fan_out: the additions that one spike causes, for each position of the input, float64
            `[*shape]`.
        connections: the multiply-accumulates of the first weights for graded input.
        behind: the multiply-accumulates after the first weights, for any input.
    """

    fan_out: Tensor
    connections: int
    behind: int


def parts_of(*modules: nn.Module) -> list[nn.Module]:
    """Return the modules in order; an `nn.Sequential` gives its parts."""
    parts: list[nn.Module] = []
    for module in modules:
        parts += parts_of(*module) if isinstance(module, nn.Sequential) else [module]
    return parts


def split_at_weights(parts: Sequence[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
    """Split after the last nonlinear part that comes before the first weights.

    Nonlinear parts must be run: only this tells which spikes pass a max pool. Linear parts have a
    fan-out: an average pool passes every spike to each window that contains it, and its division
    is part of the weights that follow.
    """
    cut = 0
    for place, part in enumerate(parts):
        learns = any(True for _ in part.parameters())
        if isinstance(part, _WEIGHTS) or (learns and not isinstance(part, (*_FOLDED, *_MEASURING))):
            break
        if not isinstance(part, (*_AVERAGES, *_FOLDED)) and not _keeps_values(part):
            cut = place + 1
    return list(parts[:cut]), list(parts[cut:])


@torch.enable_grad()
def wiring(parts: Iterable[nn.Module], shape: Sequence[int]) -> Wiring:
    """Return the operations of a synapse for an input of `shape`, without time and batch.

    Raises:
        SigpropError: if a part has weights of a kind that can't be counted.
    """
    arriving = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    values: Tensor = arriving
    fan_out: Tensor | None = None
    connections = behind = 0
    for part in parts:
        if isinstance(part, _WEIGHTS):
            dense = int(_unit_weights(part, torch.ones_like(values)).sum())
            out = _unit_weights(part, values)
            if fan_out is None:
                fan_out, connections = _gradient(out, arriving), dense
            else:
                behind += dense
            values = torch.ones_like(out)
        else:
            behind += normaliser_macs(part, values.numel())
            values = passed(part, values)
    if fan_out is None:  # no weights: a spike is added to the current
        fan_out, connections = _gradient(values, arriving), values.numel()
    return Wiring(fan_out, connections, behind)


def normaliser_macs(part: nn.Module, values: int) -> int:
    """Return the multiply-accumulates of a normaliser for this number of values; 0 for others."""
    return _MACS_PER_NORMALISED_VALUE * values if isinstance(part, _MEASURING) else 0


def _gradient(out: Tensor, arriving: Tensor) -> Tensor:
    """Return the number of additions that each input value takes part in."""
    (grad,) = torch.autograd.grad(out.sum(), arriving)
    return grad[0]


def _unit_weights(part: nn.Module, values: Tensor) -> Tensor:
    """Return the part's output with every weight 1 and no bias."""
    if isinstance(part, nn.Linear):
        summed = values.sum(-1, keepdim=True)
        return summed.expand(*values.shape[:-1], part.out_features)
    if isinstance(part, OneToOne):
        return values
    assert isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    counting = _CONVOLUTIONS[len(part.kernel_size)](
        part.in_channels,
        part.out_channels,
        part.kernel_size,  # type: ignore[arg-type]
        part.stride,  # type: ignore[arg-type]
        part.padding,  # type: ignore[arg-type]
        part.dilation,  # type: ignore[arg-type]
        part.groups,
        bias=False,
        padding_mode=part.padding_mode,  # type: ignore[arg-type]
        dtype=torch.float64,
    )
    counting.requires_grad_(False).weight.fill_(1.0)
    out: Tensor = counting(values)
    return out


def passed(part: nn.Module, values: Tensor) -> Tensor:
    """Return the output of a part without counted weights."""
    if isinstance(part, _AVERAGES):
        return _sums(part, values)
    if isinstance(part, (*_FOLDED, *_MEASURING)):
        return values
    if any(True for _ in part.parameters()):
        raise SigpropError(
            f"{type(part).__name__} has weights that can't be counted; expected "
            f"{', '.join(kind.__name__ for kind in _WEIGHTS)}"
        )
    out: Tensor = part(values)
    return out


def _sums(part: nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d, values: Tensor) -> Tensor:
    """Return the sum over every window of an average pool."""
    if isinstance(part, nn.AvgPool3d):
        return F.avg_pool3d(
            values, part.kernel_size, part.stride, part.padding, part.ceil_mode,
            part.count_include_pad, divisor_override=1,
        )  # fmt: skip
    if isinstance(part, nn.AvgPool2d):
        return F.avg_pool2d(
            values, part.kernel_size, part.stride, part.padding, part.ceil_mode,
            part.count_include_pad, divisor_override=1,
        )  # fmt: skip
    (kernel,), (stride,), (padding,) = map(_one, (part.kernel_size, part.stride, part.padding))
    return F.avg_pool2d(
        values.unsqueeze(-2), (1, kernel), (1, stride), (0, padding), part.ceil_mode,
        part.count_include_pad, divisor_override=1,
    ).squeeze(-2)  # fmt: skip


def _one(setting: int | tuple[int, ...]) -> tuple[int]:
    return (setting,) if isinstance(setting, int) else (math.prod(setting),)


def _keeps_values(part: nn.Module) -> bool:
    """Return whether a part passes on the same values, perhaps in another shape."""
    return isinstance(part, nn.Identity | nn.Flatten | nn.Unflatten | nn.Dropout | nn.Dropout2d)
