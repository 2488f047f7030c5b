"""How a gradient reaches the weights of a block, with its spikes and resets held constant.

There are three paths; `gradient_path` takes the first that fits a block:

* `ClosedForm`: one static pass over the mean presynaptic trace. For a neuron with one fixed linear
  filter behind an affine synapse.
* `Filtered`: the filter over the currents of every step. For such a neuron behind any synapse.
* `Unrolled`: the layer's own dynamics unrolled in time. For every other neuron: learnable decays,
  non-linear models.

All give the exact gradient of the layer's unrolled graph with held spikes.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sigprop_snn.layers.block import Block
from sigprop_snn.layers.linear_current import LinearCurrent
from sigprop_snn.layers.norm import RunningNorm
from sigprop_snn.neurons import Neuron, map_state, run
from sigprop_snn.neurons.engines import DenseSpikes, Run, Spikes, engine_for
from sigprop_snn.neurons.engines.reference import current_gradient
from sigprop_snn.neurons.filters import mean_trace_of
from sigprop_snn.neurons.stepwise import stepwise, with_contexts


class GradientPath(Protocol):
    """Runs a block; what it returns beside the run carries the gradient of the block's weights."""

    def mean_voltage(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and its mean voltage, `[N, ...]`.

        Args:
            inputs: the input of the block, `[T, B, ...]`.
            contexts: the constant current of the contexts, `[C, ...]`, or none.
            observed: how many of the first rows the normaliser observes.
            record: what the run keeps of every step.
        """

    def voltages(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the voltage of every step, `[T, N, ...]`."""

    def surrogate_mean(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the mean over time of f(U[t] - threshold), `[N, ...]`."""


def gradient_path(block: Block, inputs: Spikes) -> GradientPath:
    """Return the cheapest exact path of a gradient into a block with these inputs."""
    if not block.neuron.closed_form:
        return Unrolled(block)
    # An input that carries a gradient itself takes the path through the synapse's own graph.
    current = None
    if not carries_gradient(inputs):
        current = LinearCurrent.of(block.synapse, block.norm)
    if current is not None and not current.takes(inputs.shape[2:]):
        current = None
    if current is not None or block.is_affine:
        return ClosedForm(block, current)
    return Filtered(block)


def carries_gradient(inputs: Spikes) -> bool:
    """Return whether an input carries a gradient itself."""
    return isinstance(inputs, DenseSpikes) and inputs.dense().requires_grad


@dataclass(frozen=True)
class Unrolled:
    """The neuron's own dynamics unrolled in time.

    Attributes:
        block: the block.
    """

    block: Block

    def mean_voltage(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and its mean voltage."""
        ran, voltages = self.voltages(inputs, contexts, observed, record)
        return ran, voltages.mean(0)

    def voltages(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the voltage of every step."""
        current = centred_current(self.block, inputs.dense(), contexts, observed)
        return unrolled(self.block.neuron, with_contexts(current, contexts), record)

    def surrogate_mean(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the mean over time of f(U[t] - threshold)."""
        neuron = self.block.neuron
        ran, voltages = self.voltages(inputs, contexts, observed, record)
        return ran, neuron.surrogate.f(neuron.above(voltages)).mean(0)


@dataclass(frozen=True)
class Filtered:
    """The neuron's fixed linear filter over the currents of every step.

    Attributes:
        block: the block.
    """

    block: Block

    def mean_voltage(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and its mean voltage."""
        neuron = self.block.neuron
        ran, current = self._run(inputs, contexts, observed, record)
        driving = _with_recurrence(neuron, with_contexts(current, contexts), ran.spike)
        mean, gain = mean_trace_of(neuron, driving)
        return ran, with_gradient_of(gain * mean, ran.mean_voltage)

    def voltages(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the voltage of every step."""
        ran, current = self._run(inputs, contexts, observed, ("voltage", *record))
        return ran, _filtered_voltage(self.block.neuron, with_contexts(current, contexts), ran)

    def surrogate_mean(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the mean over time of f(U[t] - threshold)."""
        ran, current = self._run(inputs, contexts, observed, ("voltage", *record))
        return ran, _surrogate_mean(self.block.neuron, current, contexts, ran)

    def _run(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run, and the samples' current with its gradient."""
        current = centred_current(self.block, inputs.dense(), contexts, observed)
        with torch.no_grad():
            ran = run(self.block.neuron, current, contexts=contexts, record=record)
        return ran, current


@dataclass(frozen=True)
class ClosedForm:
    """One static pass over the mean presynaptic trace; for single steps, the linear current.

    With the reset held constant the mean voltage is gain * (W xbar + b) plus constants, xbar the
    mean presynaptic trace. One product then gives the exact gradient of the unrolled layer.

    Attributes:
        block: a block with an affine current.
        current: its closed form, or none where autograd through the synapse takes its place.
    """

    block: Block
    current: LinearCurrent | None

    def mean_voltage(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and its mean voltage."""
        neuron = self.block.neuron
        ran = self.block.run(
            inputs, contexts=contexts, observed_rows=observed, record=record, keeps_state=False
        )
        trace, gain = mean_trace_of(neuron, inputs)
        recurrent_trace = None
        if neuron.recurrence is not None:
            recurrent_trace = mean_trace_of(neuron, one_step_later(ran.spike)).trace
        return ran, voltage_from_trace(
            self.block, trace, gain, ran.mean_voltage, contexts, recurrent_trace,
            samples=observed or len(trace),
        )  # fmt: skip

    def voltages(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the voltage of every step."""
        return Filtered(self.block).voltages(inputs, contexts, observed, record)

    def surrogate_mean(
        self, inputs: Spikes, contexts: Tensor | None, observed: int, record: tuple[str, ...]
    ) -> tuple[Run, Tensor]:
        """Return the run and the mean over time of f(U[t] - threshold)."""
        if self.current is None:
            return Filtered(self.block).surrogate_mean(inputs, contexts, observed, record)
        ran = self.block.run(
            inputs, contexts=contexts, observed_rows=observed, record=("voltage", *record),
            keeps_state=False,
        )  # fmt: skip
        # Only the gradient path matters: a placeholder of the current's shape.
        current = self._placeholder(ran.recorded["voltage"][:, : inputs.shape[1]])
        if inputs.constant:
            current = current[:1].expand_as(current)
        mean_input = None
        if self.block.centred:
            rows = inputs.rows(0, observed) if observed else inputs
            mean_row = rows.count().mean(0) / inputs.shape[0]
            mean_input = self.block.mean_input(mean_row, rows.shape[1])
        current = self.current.attach(inputs, current, mean_input=mean_input)
        return ran, _surrogate_mean(self.block.neuron, current, contexts, ran)

    def _placeholder(self, voltage: Tensor) -> Tensor:
        """Return a tensor with the shape of the currents and the dtype of their gradient.

        On a GPU the dtype is that of autocast, for its memory.
        """
        neuron = self.block.neuron
        plain = neuron.recurrence is None and not _learns(neuron)
        if plain and voltage.is_cuda and torch.is_autocast_enabled("cuda"):
            empty = voltage.new_empty((), dtype=torch.get_autocast_dtype("cuda"))
            return empty.expand(voltage.shape)
        return voltage


def centred_current(block: Block, inputs: Tensor, contexts: Tensor | None, observed: int) -> Tensor:
    """Return a block's current; where the block is centred, its weights' gradient is centred.

    Args:
        block: the block.
        inputs: its input, `[T, N, ...]`.
        contexts: the contexts' current, to check its shape.
        observed: how many of the first rows the normaliser observes.
    """
    current = block.current(inputs, contexts=contexts, observed_rows=observed)
    if not block.centred:
        return current
    rows = inputs[:, : observed or None].detach()
    mean_input = block.mean_input(rows.mean((0, 1)), rows.shape[1])
    if mean_input is None:
        return current
    return with_gradient_of(-_left_out(block, mean_input), current)


def _left_out(block: Block, mean_input: Tensor) -> Tensor:
    """Return the current of a centred block's mean input, for the gradient of its weights alone.

    It is the normalised synapse's, without the bias and averaged over positions, `[F, 1, ...]`.
    """
    assert isinstance(block.norm, RunningNorm)  # `mean_input` is none behind another
    row = mean_input.unsqueeze(0)
    driven = block.synapse(row) - block.synapse(torch.zeros_like(row))
    mean = driven[0].flatten(1).mean(1) if driven.dim() > 2 else driven[0]
    scale = (block.norm.gain * block.norm.unit()).detach()
    left_out: Tensor = (scale * mean).view(-1, *[1] * (driven.dim() - 2))
    return left_out


def voltage_from_trace(
    block: Block,
    trace: Tensor,
    gain: float,
    voltage: Tensor,
    contexts: Tensor | None,
    recurrent_trace: Tensor | None,
    *,
    samples: int,
) -> Tensor:
    """Return a voltage `[N, ...]` with the gradient of its synapse, by given traces.

    Args:
        block: a block whose current is affine and whose neuron has a closed form.
        trace: the presynaptic trace of the inputs, divided by the gain, `[B, ...]`.
        gain: the voltage that a constant current of 1 gives.
        voltage: the voltage, held constant otherwise.
        contexts: the contexts' current, `[C, ...]`, or none.
        recurrent_trace: the trace of the layer's own last spikes, divided by the gain,
            `[N, ...]`, for recurrent weights, or none.
        samples: how many of the first rows give the mean trace of a centred block.
    """
    voltage = voltage.detach()
    mean_input = None
    if block.centred:
        mean_input = block.mean_input(trace[:samples].detach().mean(0), samples)
    current = None if trace.requires_grad else LinearCurrent.of(block.synapse, block.norm)
    if current is not None and current.takes(trace.shape[1:]):
        trace = trace if trace.dtype == torch.float64 else trace.float()
        result = current.attach(trace, voltage, gain, contexts, mean_input)
    else:
        source = block.static_current(trace)
        if mean_input is not None:
            source = source - _left_out(block, mean_input)
        if contexts is not None:
            source = torch.cat([source, contexts.to(source)])
        result = with_gradient_of(gain * source, voltage)
    if block.neuron.recurrence is not None:
        result = with_gradient_of(gain * block.neuron.recurrence(recurrent_trace), result)
    return result


def with_gradient_of(source: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the gradient of `source` on top of its own."""
    return value + (source - source.detach())


def unrolled(
    neuron: Neuron, current: Tensor, record: tuple[str, ...], state: Any = None
) -> tuple[Run, Tensor]:
    """Run a neuron with a graph in time, its spikes held constant.

    Returns:
        The run, without a gradient, and the voltage of every step with one, `[T, N, ...]`.
    """
    if not neuron.closed_form:
        _warn_unrolled(type(neuron).__name__)
    names = ("voltage", *record)
    ran = run(neuron, current, state, record=names, detach_spikes=True, engine="reference")
    detached = Run(
        DenseSpikes(ran.spike.detach()),
        ran.mean_voltage.detach(),
        map_state(torch.detach, ran.state),
        {name: kept.detach() for name, kept in ran.recorded.items()},
    )
    return detached, ran.recorded["voltage"]


def _surrogate_mean(neuron: Neuron, current: Tensor, contexts: Tensor | None, ran: Run) -> Tensor:
    """Return the mean over time of f(U[t] - threshold), `[N, ...]`, of the recorded voltage.

    Its gradient reaches the currents, df(U[t]) through the filter, and the learnable shape of a
    surrogate.

    Args:
        neuron: the model.
        current: of the samples, `[T, B, ...]`; only its gradient is used.
        contexts: the constant current of the contexts behind them, `[C, ...]`, or none.
        ran: the run, with its voltages.
    """
    if _learns(neuron):
        voltage = _filtered_voltage(neuron, with_contexts(current, contexts), ran)
        return neuron.surrogate.f(neuron.above(voltage)).mean(0)
    if neuron.recurrence is not None:
        current = _with_recurrence(neuron, with_contexts(current, contexts), ran.spike)
        contexts = None
    mean: Tensor = _SurrogateMean.apply(current, contexts, ran.recorded["voltage"], neuron)
    return mean


def _learns(neuron: Neuron) -> bool:
    """Return whether a neuron learns a number of its own, such as its surrogate's shape."""
    synapse = neuron.recurrence
    others = {id(weights) for weights in synapse.parameters()} if synapse is not None else set()
    return any(p.requires_grad and id(p) not in others for p in neuron.parameters())


def _filtered_voltage(neuron: Neuron, current: Tensor, ran: Run) -> Tensor:
    """Return the recorded voltage of every step, with the filter's gradient of the currents."""
    driving = _with_recurrence(neuron, current, ran.spike)
    voltage: Tensor = _Membrane.apply(driving, ran.recorded["voltage"], neuron)
    return voltage


class _Membrane(torch.autograd.Function):
    """The voltage of a run as a function of its current, resets held constant."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, voltage: Tensor, neuron: Neuron) -> Tensor:
        ctx.neuron = neuron
        return voltage.view_as(voltage)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return current_gradient(ctx.neuron, grads[0].clone()), None, None


class _SurrogateMean(torch.autograd.Function):
    """The mean over time of the surrogate's primitive; only the voltage is kept."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, contexts: Tensor | None, voltage: Tensor, neuron: Neuron
    ) -> Tensor:
        ctx.neuron = neuron
        ctx.rows = current.shape[1]
        ctx.dtypes = current.dtype, None if contexts is None else contexts.dtype
        ctx.save_for_backward(voltage)
        return engine_for(voltage.device).surrogate_mean(neuron, voltage)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (voltage,) = ctx.saved_tensors
        current, contexts = ctx.dtypes
        engine = engine_for(voltage.device)
        grad = engine.surrogate_gradient(ctx.neuron, voltage, grads[0], current)
        of_contexts = None
        if contexts is not None:
            of_contexts = grad[:, ctx.rows :].sum(0, dtype=voltage.dtype).to(contexts)
        return (
            grad[:, : ctx.rows].to(current),
            of_contexts,
            None,
            None,
        )


def _with_recurrence(neuron: Neuron, current: Tensor, spike: Tensor) -> Tensor:
    """Return the currents `[T, N, ...]` plus those of the layer's own spikes one step before."""
    if neuron.recurrence is None:
        return current
    return current + stepwise(neuron.recurrence, one_step_later(spike))


def one_step_later(spike: Tensor) -> Tensor:
    """Return the spikes `[T, N, ...]` as they reach a recurrent synapse: silence comes first."""
    return torch.cat([torch.zeros_like(spike[:1]), spike[:-1]])


@functools.cache
def _warn_unrolled(model: str) -> None:
    warnings.warn(
        f"{model} has no fixed linear filter, so the closed form does not apply: its layers learn "
        "from their own dynamics unrolled in time. The gradient is exact. A step takes up to T "
        "times as long",
        stacklevel=2,
    )
