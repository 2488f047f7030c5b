"""A layer of LIF neurons behind a linear synapse, from spikes to spikes in one pass.

The current of a window goes into the membrane as soon as it is summed, and what the neurons fire
is packed: neither currents nor spikes are ever written out. Spikes and voltages are those of the
product and the neuron's kernel one after the other, to the bit.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.kernels.choice import unfit_neuron
from sigprop_snn.neurons.kernels.fused import Constants, Layer, Scale, scale_of
from sigprop_snn.neurons.kernels.listing import Windows, list_windows
from sigprop_snn.neurons.kernels.packed import WINDOW, Packed
from sigprop_snn.neurons.kernels.panels import Panels, panels_of
from sigprop_snn.neurons.kernels.product import fits_activity, fits_weights
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import LANES, fire, sum_patterns
from sigprop_snn.neurons.kernels.windows import panels_product
from sigprop_snn.neurons.lif import LIF

_SAMPLES = 32  # at most, whose windows pass through a panel before the next panel comes
_WORTH = 8  # samples


def fits_layer(
    neuron: Neuron, inputs: Tensor | Packed, weight: Tensor, bias: Tensor | None
) -> bool:
    """Return whether `run_layer` takes this: LIF behind a linear synapse, on the CPU.

    Args:
        neuron: the model.
        inputs: what the synapse receives, `[T, N, ...]`.
        weight: `[F, K]`.
        bias: `[F]`, or none.
    """
    steps, samples = inputs.shape[:2]
    return (
        unfit_neuron(neuron) is None
        and steps >= WINDOW
        and (isinstance(inputs, Packed) or (fits_activity(inputs) and inputs.stride(0) != 0))
        and inputs.shape[2:].numel() == weight.shape[1]
        and fits_weights(steps * samples, weight, bias)
    )


class Synapse(NamedTuple):
    """A product of spikes and weights, ready to be summed.

    Attributes:
        windows: the spikes, `[T, N, K]`.
        panels: the weights, `[F, K]`.
        columns: F.
    """

    windows: Windows
    panels: Panels
    columns: int

    @classmethod
    def of(cls, inputs: Packed, weight: Tensor, bias: Tensor | None) -> Synapse:
        """Return it for inputs `[T, N, K]`, a weight `[F, K]` and a bias `[F]` or none.

        Under autocast to bfloat16, sums of float16 are taken to do.
        """
        half = torch.is_autocast_enabled("cpu")
        return cls(list_windows(inputs), panels_of(weight, bias, half=half), len(weight))

    @property
    def shape(self) -> tuple[int]:
        """The shape of a row's current, `[F]`."""
        return (self.columns,)

    def windows_at(self, samples: Tensor, places: Tensor) -> Tensor:
        """Return the currents of R windows, `[4, R, F]`; behind the last step come no spikes.

        Args:
            samples: whose, `[R]`.
            places: which of each sample's, `[R]`.
        """
        windows = self.windows
        rows = samples * (len(windows.events) // windows.samples) + places
        picked = Windows(windows.events[rows], windows.starts[rows], windows.neurons, WINDOW)
        return panels_product(picked, self.panels, self.columns, torch.float32)


def run_layer(
    neuron: LIF,
    synapse: Synapse,
    *,
    riding: Tensor | None = None,
    scale: Scale | None = None,
    record: bool = False,
) -> Layer:
    """Run the neurons from rest.

    Args:
        neuron: the model.
        synapse: what drives it.
        riding: the constant current of rows that ride behind the samples, `[C, F]`, or none.
        scale: what the samples' product goes through on its way in.
        record: whether the voltage of every step is kept.
    """
    windows, panels, columns = synapse
    steps, samples = windows.steps, windows.samples
    rows = samples + (0 if riding is None else len(riding))
    patterns = torch.empty(rows, -(-steps // WINDOW), columns, dtype=torch.uint8)
    start = neuron.initial_state(torch.empty(rows, columns)).voltage.detach()
    out = Layer(
        Packed(patterns, steps),
        torch.empty(steps if record else 0, rows, columns),
        start.contiguous(),
        torch.empty(rows, columns),
    )
    constant = torch.empty(0, columns) if riding is None else riding.detach().float().contiguous()
    factors = scale_of(columns, len(panels.start), scale)
    taken = (windows.events, windows.starts, panels.table, panels.start, *factors, constant)
    given = (*taken, patterns, *out[1:], panels.unit, *Constants.of(neuron), steps)
    share(_compiled(panels.table.dtype), given, rows, worth=_WORTH, grain=1)
    return out


def _layer(
    events: Any, starts: Any, table: Any, bias: Any, scale: Any, shift: Any, riding: Any,
    patterns: Any, voltages: Any, last: Any, total: Any,
    unit: Any, beta: Any, gain: Any, threshold: Any, taken: Any, emptied: bool, steps: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Run rows `start` to `stop`: samples, and behind them those that ride."""
    room = events.shape[1]
    _, rows, width = table.shape
    count_of_rows, windows, columns = patterns.shape
    samples = count_of_rows - riding.shape[0]
    keep = voltages.shape[0] > 0
    sums = np.zeros((WINDOW, width), np.float32)
    own = np.zeros((2, width), np.float32)
    sent, kept = np.zeros(LANES, np.uint8), np.zeros((WINDOW, LANES), np.float32)
    for first in range(start, stop, _SAMPLES):
        for panel in range(table.shape[0]):
            left = panel * width
            here = min(width, columns - left)
            whole = here - here % LANES
            for sample in range(first, min(first + _SAMPLES, stop)):
                rides = sample >= samples
                factor = scale.shape[0] - width if rides else left
                for f in range(here):
                    own[0, f] = last[sample, left + f]
                    own[1, f] = 0.0
                for window in range(windows):
                    row = sample * windows + window
                    if rides:
                        for t in range(WINDOW):
                            for f in range(here):
                                sums[t, f] = riding[sample - samples, left + f]
                    else:
                        sum_patterns(
                            table, panel * rows * width, unit, events, row * room, starts, row,
                            bias, left, sums, 0,
                        )  # fmt: skip
                    step = window * WINDOW
                    length = min(WINDOW, steps - step)
                    if whole:
                        fire(
                            sums, 0, width, own, 0, width, LANES,
                            scale, shift, factor, LANES, whole // LANES, length,
                            beta, gain, threshold, taken, emptied,
                            patterns, row * columns + left, keep,
                            voltages, (step * count_of_rows + sample) * columns + left,
                            count_of_rows * columns, LANES,
                        )  # fmt: skip
                    if whole < here:
                        # What lies behind the last column is another row's.
                        fire(
                            sums, whole, width, own, whole, width, LANES,
                            scale, shift, factor + whole, LANES, 1, length,
                            beta, gain, threshold, taken, emptied,
                            sent, 0, keep, kept, 0, LANES, LANES,
                        )  # fmt: skip
                        for f in range(here - whole):
                            patterns[sample, window, left + whole + f] = sent[f]
                            if keep:
                                for t in range(length):
                                    voltages[step + t, sample, left + whole + f] = kept[t, f]
                for f in range(here):
                    last[sample, left + f] = own[0, f]
                    total[sample, left + f] = own[1, f]


@functools.cache
def _compiled(table: torch.dtype) -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    real, whole = types.float32, types.int64
    line, sheet = types.Array(real, 1, "C"), types.Array(real, 2, "C")
    return compiled(
        _layer,
        types.Array(types.uint16, 2, "C"), types.Array(types.int32, 2, "C"),
        types.Array(real if table == torch.float32 else types.uint16, 3, "C"),
        line, line, line, sheet,
        types.Array(types.uint8, 3, "C"), types.Array(real, 3, "C"), sheet, sheet,
        real, real, real, real, real, types.boolean, whole,
    )  # fmt: skip
