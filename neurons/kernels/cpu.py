"""The CPU kernel of LIF, compiled by numba.

It does the same float32 operations in the same order as the eager loop, and numba contracts no
multiply-add, so spikes and voltages are equal to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.kernels.fused import Constants, Fused, Scale, allocate, parts
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.lif import LIF

_CHUNK = 1024  # neurons whose voltage, sums and scratch stay in the first-level cache
_WORTH_A_THREAD = 1 << 18  # neurons times steps


def lif_cpu(
    neuron: LIF,
    current: Tensor,
    riding: Tensor | None,
    state: State,
    names: tuple[str, ...],
    scale: Scale | None = None,
) -> Fused:
    """Run LIF through a float32 or bfloat16 current on the CPU, on torch's number of threads."""
    out = allocate(current, state, names)
    steps, neurons = current.shape[0], out.last_voltage.numel()
    kernel = _compiled(current.dtype == torch.bfloat16)
    voltage = out.voltage if out.voltage is not None else torch.empty(0, neurons)
    bits, one, zero = _spike_bits(current.dtype)
    for part in parts(current, riding, scale):
        given = (
            part.current.view(bits),
            part.gain,
            part.offset,
            out.spike.view(bits).view(steps, neurons),
            voltage.view(-1, neurons),
            out.last_voltage.view(-1),
            out.voltage_sum.view(-1),
            part.place,
            *Constants.of(neuron),
            one,
            zero,
        )
        share(kernel, given, part.current.shape[1], worth=_WORTH_A_THREAD // steps)
    return out


def _lif(
    current: Any, scale: Any, offset: Any, spikes: Any, voltages: Any,
    last: Any, total: Any, place: int,
    beta: float, gain: float, threshold: float, taken: float, emptied: bool,
    one: Any, zero: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Run neurons `start` to `stop` of `current`, which lie from `place` on in what is written."""
    kept = voltages.shape[0] > 0
    u = total[:0]
    for first in range(start, stop, _CHUNK):
        size = min(_CHUNK, stop - first)
        there = place + first
        v = last[there : there + size]
        factor = scale[first : first + size]
        shift = offset[first : first + size]
        summed = total[there : there + size]
        for t in range(spikes.shape[0]):
            i = current[min(t, current.shape[0] - 1), first : first + size]
            s = spikes[t, there : there + size]
            if kept:
                u = voltages[t, there : there + size]
            for n in range(size):
                voltage = beta * v[n] + gain * (factor[n] * _widen(i[n]) + shift[n])
                fired = voltage > threshold
                spike = np.float32(1.0) if fired else np.float32(0.0)
                height = voltage if emptied else taken
                if kept:
                    u[n] = voltage
                s[n] = one if fired else zero
                summed[n] += voltage
                v[n] = voltage - height * spike


def _widen(value: Any) -> Any:
    """Return a current as float32; the compiler puts the right code in its place."""
    raise AssertionError("compiled code only")


def _widen_typed(value: Any) -> Callable[[Any], Any]:
    from numba import types

    if isinstance(value, types.Float):
        return lambda value: value
    # The bits of a bfloat16 are the upper half of a float32's.
    return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


@functools.cache
def _compiled(bfloat16: bool) -> Compiled:
    """Return the kernel for one dtype of current."""
    from numba import types
    from numba.extending import overload

    from sigprop_snn.neurons.kernels.compiling import compiled

    _teach_widen(overload)
    real, whole = types.float32, types.int64
    value = types.uint16 if bfloat16 else real
    plane, line = types.Array(real, 2, "C"), types.Array(real, 1, "C")
    coded = types.Array(value, 2, "C")
    return compiled(
        _lif, coded, line, line, coded, plane, line, line, whole,
        real, real, real, real, types.boolean, value, value,
    )  # fmt: skip


@functools.cache
def _teach_widen(overload: Callable[..., Any]) -> None:
    overload(_widen, strict=False)(_widen_typed)


def _spike_bits(dtype: torch.dtype) -> tuple[torch.dtype, Any, Any]:
    """Return the dtype numba sees, and a spike and its absence in it."""
    if dtype == torch.bfloat16:
        return torch.uint16, np.uint16(0x3F80), np.uint16(0)
    return torch.float32, np.float32(1.0), np.float32(0.0)
