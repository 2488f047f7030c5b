"""Running any neuron through time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.arguments import names_of, truth
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, check_neuron
from sigprop_snn.neurons.engines.choice import as_engine, engine_for
from sigprop_snn.neurons.engines.engine import Engine, Run, Scale


def run(
    neuron: Neuron,
    current: Tensor,
    state: Any = None,
    *,
    contexts: Tensor | None = None,
    scale: Scale | None = None,
    record: Iterable[str] = (),
    engine: Engine | str | None = None,
    detach_spikes: bool = False,
) -> Run:
    """Run a neuron through a current.

    Half-precision currents are integrated in float32: state, voltages and counts are float32, and
    the spikes have the dtype of the current.

    Args:
        neuron: any neuron model.
        current: the input current, time first, `[T, B, ...]`; whole numbers become floats.
        state: where to start; at rest if not given.
        contexts: the constant current of context rows behind the batch, `[C, ...]`. The run then
            has B + C rows.
        scale: what the current of the batch is multiplied with and shifted by on its way in; the
            contexts are not.
        record: names of what to keep of every step: "spike", "voltage" (before the reset), or
            any tensor of the model's state (after the reset; its voltage is "reset_voltage").
        engine: what runs it, an engine or a name in `ENGINES`; the device's own if not given. An
            engine hands on to the reference engine what it has no kernel for.
        detach_spikes: whether the spikes are constants in any gradient; what is recorded then
            carries the gradient of the voltages.

    Raises:
        SigpropError: if an argument has the wrong type, the current has no time or batch axis, the
            contexts or the scale do not fit it, or a name can't be recorded.
    """
    check_neuron(neuron)
    _check_tensor("current", current, "[T, B, ...]")
    if contexts is not None:
        _check_tensor("contexts", contexts, "[C, ...]")
    if not current.is_floating_point() and not current.is_complex():
        current = current.to(torch.get_default_dtype())
    if current.dim() < 2 or current.shape[0] < 1:
        raise SigpropError(
            f"current has shape {list(current.shape)}; expected [T, B, ...] with T >= 1"
        )
    if contexts is not None and contexts.shape[1:] != current.shape[2:]:
        raise SigpropError(
            f"contexts have shape {list(contexts.shape)} beside a current of shape "
            f"{list(current.shape)}; expected [C, ...] beside [T, B, ...]"
        )
    _check_scale(scale, current)
    chosen = engine_for(current.device) if engine is None else as_engine(engine)
    record = names_of("record", record)
    if state is not None and not hasattr(state, "_fields"):
        raise SigpropError(
            f"state is a {type(state).__name__}; expected the `state` of an earlier run"
        )
    detach_spikes = truth("detach_spikes", detach_spikes)
    return chosen.neurons(
        neuron,
        current,
        state,
        contexts=contexts,
        scale=scale,
        record=record,
        detach_spikes=detach_spikes,
    )


def _check_tensor(name: str, value: object, expected: str) -> None:
    if not isinstance(value, Tensor):
        raise SigpropError(f"{name} is a {type(value).__name__}; expected a tensor {expected}")
    if value.layout != torch.strided or value.is_complex():
        kind = value.dtype if value.is_complex() else value.layout
        raise SigpropError(f"{name} is {kind}; expected real numbers in a dense tensor {expected}")


def _check_scale(scale: Scale | None, current: Tensor) -> None:
    if scale is not None and not isinstance(scale, Scale):
        raise SigpropError(f"scale is a {type(scale).__name__}; expected a Scale(gain, offset)")
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
