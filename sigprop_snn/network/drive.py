"""How a gradient reaches what drives a layer's voltage, resets and spikes held constant.

Three ways, the first that fits: one static pass over the mean presynaptic trace (a fixed linear
filter behind an affine synapse), the filter over the currents of every step (a fixed linear
filter), or the layer's own dynamics unrolled in time (anything else: learnable decays, non-linear
models). All give the exact gradient of the layer's unrolled graph with held spikes.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.network.block import Block
from sigprop_snn.network.synapse import stepwise
from sigprop_snn.neurons import (
    Neuron,
    Run,
    filter_matrix,
    geometric_response,
    impulse_response,
    map_state,
    mean_trace,
    run,
)
from sigprop_snn.neurons.base import AnyState
from sigprop_snn.neurons.filters import is_constant
from sigprop_snn.neurons.kernels import Packed, surrogate

_TOGETHER = 3  # steps


def driven_mean(block: Block, inputs: Tensor | Packed, context: Tensor | None, ran: Run) -> Tensor:
    """Return a run's mean voltage `[N, ...]` with the gradient of what drove it, in one pass.

    Args:
        block: a block whose current is affine and whose neuron has a closed form.
        inputs: what the block received, `[T, B, ...]`.
        context: the learning signal's current, `[C, ...]`, or none.
        ran: the block's run.
    """
    response = impulse_response(block.neuron, inputs.shape[0])
    trace, gain = mean_trace(inputs, response)
    before = None
    if block.neuron.recurrence is not None:
        before = mean_trace(_one_step_later(ran.spike), response).trace
    return driven_by(block, trace, gain, ran.mean_voltage, context, before)


def driven_by(
    block: Block,
    trace: Tensor,
    gain: float,
    voltage: Tensor,
    context: Tensor | None,
    before: Tensor | None,
) -> Tensor:
    """Return a voltage `[N, ...]` with the gradient of what drove it, for given traces.

    Args:
        block: a block whose current is affine and whose neuron has a closed form.
        trace: the presynaptic trace of the inputs, divided by the gain, `[B, ...]`.
        gain: the voltage that a constant current of 1 has given.
        voltage: the voltage, held constant otherwise.
        context: the learning signal's current, `[C, ...]`, or none.
        before: the trace of the layer's own last spikes, divided by the gain, `[N, ...]`, for
            recurrent weights, or none.
    """
    voltage = voltage.detach()
    parts = block.affine_parts if not trace.requires_grad else None
    if parts is not None:
        trace = trace if trace.dtype == torch.float64 else trace.float()
        driven = parts.attach(trace, voltage, gain, context)
    else:
        source = block.static_current(trace)
        if context is not None:
            source = torch.cat([source, context.to(source)])
        driven = carrying(voltage, gain * source)
    if block.neuron.recurrence is not None:
        driven = carrying(driven, gain * block.neuron.recurrence(before))
    return driven


def carrying(value: Tensor, source: Tensor) -> Tensor:
    """Return `value` with the gradient of `source` on top of its own."""
    return value + (source - source.detach())


def mean_of_currents(neuron: Neuron, current: Tensor, spike: Tensor) -> Tensor:
    """Return the mean of what the currents `[T, N, ...]` drive, where the synapse is not affine."""
    response = impulse_response(neuron, current.shape[0])
    mean, gain = mean_trace(_with_recurrence(neuron, current, spike), response)
    return gain * mean


def mean_of_surrogate(neuron: Neuron, current: Tensor, context: Tensor | None, ran: Run) -> Tensor:
    """Return the mean over time of f(U[t] - threshold), `[N, ...]`, from the recorded voltage.

    Its gradient goes into the currents, df(U[t]) through the filter, and into what a surrogate's
    learnable shape may be.

    Args:
        neuron: the model.
        current: of the samples, `[T, B, ...]`; only its gradient matters.
        context: the learning signal's current that rode behind, `[C, ...]`, or none.
        ran: the run, with its voltages.
    """
    voltage = ran.recorded["voltage"]
    if any(name.startswith("surrogate_") for name, _ in neuron.named_parameters()):
        seen = seen_voltage(neuron, with_context(current, context), ran)
        return neuron.surrogate.f(neuron.above(seen)).mean(0)
    if neuron.recurrence is not None:
        current = _with_recurrence(neuron, with_context(current, context), ran.spike)
        context = None
    mean: Tensor = _SurrogateMean.apply(current, context, voltage, neuron)
    return mean


def seen_voltage(neuron: Neuron, current: Tensor, ran: Run) -> Tensor:
    """Return the recorded voltage of every step, `[T, N, ...]`, spikes held constant.

    Its gradient goes into the currents through the neuron's closed form.
    """
    driving = _with_recurrence(neuron, current, ran.spike)
    seen: Tensor = _Membrane.apply(driving, ran.recorded["voltage"], neuron)
    return seen


def unrolled(
    neuron: Neuron, current: Tensor, record: tuple[str, ...], state: AnyState | None = None
) -> tuple[Run, Tensor]:
    """Run a neuron with a graph in time, spikes held constant.

    Returns:
        The run, without a gradient, and the voltage of every step with one, `[T, N, ...]`.
    """
    _say_unrolled(type(neuron).__name__)
    names = ("voltage", *record)
    ran = run(neuron, current, state, record=names, detach_spikes=True, backend="eager")
    bare = Run(
        ran.spike.detach(),
        ran.mean_voltage.detach(),
        map_state(torch.detach, ran.state),
        {name: kept.detach() for name, kept in ran.recorded.items()},
    )
    return bare, ran.recorded["voltage"]


def with_context(current: Tensor, context: Tensor | None) -> Tensor:
    """Return the currents `[T, N, ...]` of samples and contexts, the contexts behind."""
    if context is None:
        return current
    steps = current.shape[0]
    distinct = current[:1] if is_constant(current) else current
    both = torch.cat([distinct, context.expand(distinct.shape[0], *context.shape)], dim=1)
    return both.expand(steps, *both.shape[1:]) if distinct is not current else both


class _Membrane(torch.autograd.Function):
    """The voltage of a run as a function of its current, resets held constant."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, voltage: Tensor, neuron: Neuron) -> Tensor:
        ctx.neuron = neuron
        return voltage.view_as(voltage)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _into_current(ctx.neuron, grads[0].clone()), None, None


class _SurrogateMean(torch.autograd.Function):
    """The mean over time of the surrogate's primitive, with one voltage kept and nothing else."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, context: Tensor | None, voltage: Tensor, neuron: Neuron
    ) -> Tensor:
        ctx.neuron = neuron
        ctx.rows = current.shape[1]
        ctx.dtypes = current.dtype, None if context is None else context.dtype
        ctx.save_for_backward(voltage)
        if surrogate.fits(neuron, voltage):
            return surrogate.mean_primitive(neuron, voltage)
        # A few steps at a time, here and below: intermediate values stay in the cache.
        total = torch.zeros_like(voltage[0])
        for steps in torch.split(voltage, _TOGETHER):
            for at_step in neuron.surrogate.f(neuron.above(steps)):
                total += at_step
        return total / len(voltage)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (voltage,) = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        share = grads[0] / (len(voltage) * neuron.unit)
        geometric = geometric_response(impulse_response(neuron, len(voltage)))
        if geometric is not None and surrogate.fits(neuron, voltage):
            grad = surrogate.filtered_derivative(neuron, voltage, share, geometric)
        else:
            grad = torch.empty_like(voltage)
            parts = (torch.split(whole, _TOGETHER) for whole in (grad, voltage))
            for into, steps in zip(*parts, strict=True):
                torch.mul(neuron.surrogate.df(neuron.above(steps)), share, out=into)
            grad = _into_current(neuron, grad)
        of_current, of_context = ctx.dtypes
        return (
            grad[:, : ctx.rows].to(of_current),
            grad[:, ctx.rows :].sum(0).to(of_context) if of_context is not None else None,
            None,
            None,
        )


def _into_current(neuron: Neuron, grad: Tensor) -> Tensor:
    """Return the gradient of the currents, given that of the voltages, both `[T, N, ...]`.

    The latter may be overwritten.
    """
    response = impulse_response(neuron, grad.shape[0])
    geometric = geometric_response(response)
    if geometric is None:
        adjoint = filter_matrix(response).t().to(grad)
        return (adjoint @ grad.flatten(1)).view_as(grad)
    for step in reversed(range(len(grad) - 1)):
        grad[step].add_(grad[step + 1], alpha=geometric.ratio)
    return grad if geometric.first == 1.0 else grad.mul_(geometric.first)


def _with_recurrence(neuron: Neuron, current: Tensor, spike: Tensor) -> Tensor:
    """Return the currents `[T, N, ...]` with what the layer's own last spikes add to them."""
    if neuron.recurrence is None:
        return current
    return current + stepwise(neuron.recurrence, _one_step_later(spike))


def _one_step_later(spike: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(spike[:1]), spike[:-1]])


@functools.cache
def _say_unrolled(model: str) -> None:
    warnings.warn(
        f"{model} has no fixed linear filter, so the closed form does not apply: its layers learn "
        "from their own dynamics unrolled in time (exact, and slower by about the steps)",
        stacklevel=2,
    )
