"""Running any neuron through time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons.base import AnyState, Neuron


class Run(NamedTuple):
    """What a neuron did over T steps.

    Attributes:
        spike: `[T, B, ...]`, 0 or 1.
        mean_voltage: the voltage before the reset, averaged over the steps, `[B, ...]`.
        spike_count: the spikes of each neuron, summed over the steps, `[B, ...]`.
        state: the state after the last step; hand it to the next run to go on from there.
        recorded: what `record` asked for, by name, each `[T, B, ...]` and detached.
    """

    spike: Tensor
    mean_voltage: Tensor
    spike_count: Tensor
    state: AnyState
    recorded: dict[str, Tensor]


def run(
    neuron: Neuron,
    current: Tensor,
    state: AnyState | None = None,
    *,
    record: Iterable[str] = (),
) -> Run:
    """Run a neuron through a current.

    Args:
        neuron: any neuron model.
        current: the input current, time first, `[T, B, ...]`.
        state: where to start; at rest if not given.
        record: names of what to keep of every step: "spike", "voltage" (before the reset), or
            any field of the model's state (after the reset; its voltage is "reset_voltage").

    Raises:
        SigpropError: if the current has no time or batch axis, or a name can't be recorded.
    """
    if current.dim() < 2 or current.shape[0] < 1:
        raise SigpropError(
            f"current has shape {list(current.shape)}; expected [T, B, ...] with T >= 1"
        )
    if state is None:
        state = neuron.initial_state(current[0])
    wanted = _checked_names(record, state)
    spikes: list[Tensor] = []
    recorded: dict[str, list[Tensor]] = {name: [] for name in wanted}
    mean_voltage = torch.zeros_like(current[0])
    spike_count = torch.zeros_like(current[0])
    for step_current in current:
        step = neuron.step(step_current, state)
        state = step.state
        spikes.append(step.spike)
        mean_voltage = mean_voltage + step.voltage
        spike_count = spike_count + step.spike.detach()
        for name, kept in recorded.items():
            kept.append(_pick(name, step.spike, step.voltage, state).detach())
    return Run(
        torch.stack(spikes),
        mean_voltage / current.shape[0],
        spike_count,
        state,
        {name: torch.stack(kept) for name, kept in recorded.items()},
    )


def _checked_names(record: Iterable[str], state: AnyState) -> tuple[str, ...]:
    names = tuple(record)
    known = ["spike", "voltage", "reset_voltage", *state._fields[1:]]
    for name in names:
        if name not in known:
            raise UnknownNameError("recording", name, known)
    return names


def _pick(name: str, spike: Tensor, voltage: Tensor, state: AnyState) -> Tensor:
    if name == "spike":
        return spike
    if name == "voltage":
        return voltage
    picked: Tensor = state.voltage if name == "reset_voltage" else getattr(state, name)
    return picked
