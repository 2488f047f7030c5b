"""Running any neuron through time."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons.base import AnyState, Neuron, State, state_tensors
from sigprop_snn.neurons.kernels import (
    Backend,
    Convolution,
    Fused,
    Packed,
    Scale,
    Synapse,
    fused_kernel,
    run_convolution,
    run_layer,
)
from sigprop_snn.neurons.lif import LIF


@dataclass(frozen=True)
class Run:
    """What a neuron did over T steps.

    Attributes:
        activity: the spikes, `[T, B, ...]`: numbers in the current's dtype, or four steps to a
            byte where a kernel sends them on like that.
        mean_voltage: the voltage before the reset, averaged over the steps, `[B, ...]`.
        state: the state after the last step; hand it to the next run to go on from there.
        recorded: what `record` asked for, by name, each `[T, B, ...]`; detached unless the run
            detaches its spikes.
    """

    activity: Tensor | Packed
    mean_voltage: Tensor
    state: AnyState
    recorded: dict[str, Tensor]

    @functools.cached_property
    def spike(self) -> Tensor:
        """The spikes as numbers, 0 or 1 (a graded neuron's are its rates), `[T, B, ...]`."""
        return self.activity if isinstance(self.activity, Tensor) else self.activity.unpacked()

    @functools.cached_property
    def spike_count(self) -> Tensor:
        """The spikes of each neuron, summed over the steps, `[B, ...]`."""
        if isinstance(self.activity, Packed):
            return self.activity.weighted(torch.ones(self.activity.steps))
        spikes = self.activity.detach()
        return spikes.sum(0, dtype=torch.promote_types(spikes.dtype, torch.float32))


def run(
    neuron: Neuron,
    current: Tensor,
    state: AnyState | None = None,
    *,
    riding: Tensor | None = None,
    scale: Scale | None = None,
    record: Iterable[str] = (),
    backend: Backend = "auto",
    detach_spikes: bool = False,
) -> Run:
    """Run a neuron through a current.

    Half-precision currents are integrated in float32: state, voltages and counts are float32, and
    the spikes come back in the current's dtype.

    Args:
        neuron: any neuron model.
        current: the input current, time first, `[T, B, ...]`.
        state: where to start; at rest if not given.
        riding: the constant current of rows that ride behind the batch, `[C, ...]`. The run is
            that of B + C rows.
        scale: what the batch's current is multiplied with and shifted by on its way in; the
            riding rows are not.
        record: names of what to keep of every step: "spike", "voltage" (before the reset), or
            any tensor of the model's state (after the reset; its voltage is "reset_voltage").
        backend: "eager" runs the model step by step and is the reference; "cpu" and "triton" are
            fused kernels that give the same; "auto" takes a kernel where one fits, else "eager".
        detach_spikes: whether the spikes are constants in any gradient; what is recorded then
            carries the gradient of the voltages, for rules that learn from them.

    Raises:
        SigpropError: if the current has no time or batch axis, what rides or scales does not fit
            it, a name can't be recorded, or the backend asked for can't run this neuron on it.
    """
    if current.dim() < 2 or current.shape[0] < 1:
        raise SigpropError(
            f"current has shape {list(current.shape)}; expected [T, B, ...] with T >= 1"
        )
    if riding is not None and riding.shape[1:] != current.shape[2:]:
        raise SigpropError(
            f"riding current has shape {list(riding.shape)} beside a current of shape "
            f"{list(current.shape)}; expected [C, ...] beside [T, B, ...]"
        )
    _check_scale(scale, current)
    if state is None:
        state = neuron.initial_state(_step_current(current[0], riding, scale))
    names = _checked_names(record, state)
    kernel = fused_kernel(neuron, current, riding, state, names, backend)
    if kernel is None:
        return _eager(neuron, current, riding, scale, state, names, detach_spikes)
    lif = cast(LIF, neuron)  # the only model that kernels know
    ran = kernel(lif, current, riding, state, names, scale)
    return _fused(ran, current.shape[0], names)


def run_packed(
    neuron: LIF,
    synapse: Synapse | Convolution,
    *,
    riding: Tensor | None = None,
    scale: Scale | None = None,
    record: Iterable[str] = (),
) -> Run:
    """Run a neuron and its synapse from rest, from packed spikes to packed spikes.

    The same as a run on the synapse's current, without a gradient, for what `kernels.fits_layer`
    or `kernels.fits_convolution` says fits.

    Args:
        neuron: the model.
        synapse: the spikes that come in, and the weights.
        riding: as in `run`, `[C, ...]`.
        scale: as in `run`.
        record: "spike" or "voltage".

    Raises:
        UnknownNameError: if a name is none of these.
    """
    names, known = tuple(record), ("spike", "voltage")
    for name in names:
        if name not in known:
            raise UnknownNameError("recording", name, known)
    kept = "voltage" in names
    if isinstance(synapse, Synapse):
        ran = run_layer(neuron, synapse, riding=riding, scale=scale, record=kept)
    else:
        ran = run_convolution(neuron, synapse, riding=riding, scale=scale, record=kept)
    return Run(
        ran.activity,
        ran.voltage_sum / ran.activity.steps,
        State(ran.last_voltage),
        {n: ran.voltage if n == "voltage" else ran.activity.unpacked() for n in names},
    )


def _check_scale(scale: Scale | None, current: Tensor) -> None:
    neurons = current.shape[2:]
    for name, factor in zip(Scale._fields, scale or (), strict=False):
        if factor is None:
            continue
        shape = factor.shape
        fits = len(shape) <= len(neurons) and all(
            a in (1, b) for a, b in zip(reversed(shape), reversed(neurons), strict=False)
        )
        if not fits:
            raise SigpropError(
                f"{name} of scale has shape {list(shape)}; expected one that broadcasts against "
                f"{list(neurons)}, a row of the current"
            )


def _eager(
    neuron: Neuron,
    current: Tensor,
    riding: Tensor | None,
    scale: Scale | None,
    state: AnyState,
    names: tuple[str, ...],
    detach_spikes: bool,
) -> Run:
    """Run the model step by step: the reference that every kernel is held to."""
    spikes: list[Tensor] = []
    recorded: dict[str, list[Tensor]] = {name: [] for name in names}
    mean_voltage = torch.zeros_like(state.voltage)
    for step_current in current:
        entering = _step_current(step_current, riding, scale)
        step = neuron.step(entering, state, detach_spikes=detach_spikes)
        state = step.state
        spike = step.spike.to(current.dtype)
        spikes.append(spike)
        mean_voltage = mean_voltage + step.voltage
        for name, kept in recorded.items():
            picked = _pick(name, spike, step.voltage, state)
            kept.append(picked if detach_spikes else picked.detach())
    return Run(
        torch.stack(spikes),
        mean_voltage / current.shape[0],
        state,
        {name: torch.stack(kept) for name, kept in recorded.items()},
    )


def _fused(ran: Fused, steps: int, names: tuple[str, ...]) -> Run:
    kept = {"spike": ran.spike, "voltage": ran.voltage}
    return Run(
        ran.spike,
        ran.voltage_sum / steps,
        State(ran.last_voltage),
        {name: picked for name in names if (picked := kept[name]) is not None},
    )


def _step_current(current: Tensor, riding: Tensor | None, scale: Scale | None) -> Tensor:
    """Return one step's current of all rows as it enters, in the precision of the state."""
    if riding is not None:
        riding = _wide(riding.to(current))
    current = _wide(current)
    if scale is not None:
        current = current * scale.gain.to(current)
        if scale.offset is not None:
            current = current + scale.offset.to(current)
    return current if riding is None else torch.cat([current, riding])


def _wide(current: Tensor) -> Tensor:
    return current.float() if current.dtype in (torch.float16, torch.bfloat16) else current


def _checked_names(record: Iterable[str], state: AnyState) -> tuple[str, ...]:
    names = tuple(record)
    inner = (name for name in state_tensors(state) if name != "voltage")
    known = ["spike", "voltage", "reset_voltage", *inner]
    for name in names:
        if name not in known:
            raise UnknownNameError("recording", name, known)
    return names


def _pick(name: str, spike: Tensor, voltage: Tensor, state: AnyState) -> Tensor:
    if name == "spike":
        return spike
    if name == "voltage":
        return voltage
    return state_tensors(state)["voltage" if name == "reset_voltage" else name]
