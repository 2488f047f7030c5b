"""The CUDA kernel of LIF, in Triton.

State and sum are float32 whatever the current's dtype. Multiply-adds are kept apart, as in the
eager loop, so spikes are the same.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.kernels.fused import Fused, Scale, allocate, parts
from sigprop_snn.neurons.lif import LIF

_BLOCK = 1024


def lif_triton(
    neuron: LIF,
    current: Tensor,
    riding: Tensor | None,
    state: State,
    names: tuple[str, ...],
    scale: Scale | None = None,
) -> Fused:
    """Run LIF through a float32, bfloat16 or float16 current, one thread block a chunk."""
    out = allocate(current, state, names)
    steps, neurons = current.shape[0], out.last_voltage.numel()
    for part in parts(current, riding, scale):
        rows, size = part.current, part.current.shape[1]
        _lif[(triton.cdiv(size, _BLOCK),)](
            rows,
            part.gain,
            part.offset,
            out.spike,
            out.voltage if out.voltage is not None else out.last_voltage,
            out.last_voltage,
            out.voltage_sum,
            steps,
            size,
            part.place,
            neurons,
            size if rows.shape[0] > 1 else 0,
            float(neuron.beta),
            float(neuron.current_gain),
            float(neuron.threshold),
            float(neuron.threshold) if neuron.reset_by == "subtract" else 0.0,
            EMPTIED=neuron.reset_by == "zero",
            KEEP=out.voltage is not None,
            BLOCK=_BLOCK,
            enable_fp_fusion=False,
        )
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _lif(  # noqa: ANN202
    current, scale, offset, spikes, voltages, last, total,  # noqa: ANN001
    steps, size, place, row, current_row,  # noqa: ANN001
    beta, gain, threshold, taken,  # noqa: ANN001
    EMPTIED: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run one chunk of `current`'s neurons, which lie from `place` on in what is written."""
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = here < size
    there = here + place
    factor = tl.load(scale + here, mask=mask, other=0.0)
    shift = tl.load(offset + here, mask=mask, other=0.0)
    v = tl.load(last + there, mask=mask, other=0.0)
    summed = tl.load(total + there, mask=mask, other=0.0)
    for t in range(steps):
        step = tl.cast(t, tl.int64)
        i = tl.load(current + step * current_row + here, mask=mask, other=0.0).to(tl.float32)
        voltage = beta * v + gain * (factor * i + shift)
        spike = tl.where(voltage > threshold, 1.0, 0.0)
        summed += voltage
        v = voltage - (voltage if EMPTIED else taken) * spike
        tl.store(spikes + step * row + there, spike.to(spikes.dtype.element_ty), mask=mask)
        if KEEP:
            tl.store(voltages + step * row + there, voltage, mask=mask)
    tl.store(last + there, v, mask=mask)
    tl.store(total + there, summed, mask=mask)
