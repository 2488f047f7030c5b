"""The linear filter of a neuron's membrane, and the presynaptic trace of an input.

A linear neuron's voltage is a fixed filter of its current, minus the effect of the resets:
U[t] = sum over k <= t of h[t - k] I[k] - (effect of resets). `h` is the impulse response. The
functions here compute with `h`, for any model that declares itself linear.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.arguments import refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, S, check_neuron
from sigprop_snn.neurons.engines.engine import Spikes
from sigprop_snn.neurons.integrator import LeakyIntegrator
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.stepwise import is_constant


class MeanTrace(NamedTuple):
    """The mean over time of the presynaptic trace, split into a weighted mean and a gain.

    For a synapse that is affine in its input, the mean voltage is `gain * synapse(trace)` minus
    the effect of the resets. The split keeps the synapse's bias right.

    Attributes:
        trace: weighted mean of the input over time, `[B, ...]`; the weights sum to 1.
        gain: the mean voltage for a constant current of 1.
    """

    trace: Tensor
    gain: float


def impulse_response(neuron: Neuron, steps: int) -> Tensor:
    """Return the voltage over time for a current of 1 at step 0 and 0 afterwards.

    Args:
        neuron: a model that declares itself linear, with one fixed filter for all its neurons.
        steps: T.

    Returns:
        h, `[T]`, float64.

    Raises:
        SigpropError: if the model has no fixed impulse response or is not linear, or there is no
            step.
    """
    check_neuron(neuron)
    steps = whole("steps", steps)
    if not neuron.closed_form:
        why = (
            "its filter learns or differs between neurons" if neuron.linear else "it is not linear"
        )
        raise SigpropError(
            f"{type(neuron).__name__} has no fixed impulse response: {why}; expected a neuron "
            "with `linear` and `fixed_filter` true"
        )
    leaky = leak(neuron)
    if leaky is not None:
        return _leaky_response(leaky, steps)
    current = torch.zeros(steps, 2, dtype=torch.float64)
    current[0] = torch.tensor([1.0, 2.0])
    state = neuron.initial_state(current[0])
    response = []
    with torch.no_grad():
        for step_current in current:
            state = neuron.filter(step_current, state)
            response.append(state.voltage)
    once, twice = torch.stack(response).unbind(1)
    if not torch.allclose(twice, 2 * once, rtol=1e-9, atol=1e-12):
        raise SigpropError(
            f"{type(neuron).__name__} says that it is linear, but twice the current does not give "
            "twice the voltage; expected linear = False, or an integrate that is linear"
        )
    return once


def mean_trace(inputs: Tensor | Spikes, response: Tensor) -> MeanTrace:
    """Return the mean over time of the input, filtered by the neuron.

    (1/T) sum_t sum_{k<=t} h[t-k] x[k] = (1/T) sum_k x[k] (h[0] + ... + h[T-1-k]).

    Args:
        inputs: the input of the synapse, `[T, B, ...]`. If it is constant in time, one step is
            the weighted mean.
        response: the neuron's impulse response, `[T]`.

    Raises:
        SigpropError: if the input is no activity, or the response has another number of steps.
    """
    _check_activity(inputs)
    _check_response(response)
    if len(response) != inputs.shape[0]:
        raise refused("response", response, f"one number for each of {inputs.shape[0]} steps")
    return _weighted(inputs, _weights(response))


def mean_trace_of(neuron: Neuron, inputs: Tensor | Spikes) -> MeanTrace:
    """Return `mean_trace` for the impulse response of a neuron.

    Args:
        neuron: as `impulse_response` takes it.
        inputs: as `mean_trace` takes it.

    Raises:
        SigpropError: if the input is no activity, or the model has no fixed impulse response.
    """
    _check_activity(inputs)
    return _weighted(inputs, trace_weights(neuron, inputs.shape[0]))


class TraceWeights(NamedTuple):
    """The weight of every step in the mean presynaptic trace.

    Attributes:
        weights: `[T]`, float64, on the CPU; they sum to 1. Do not change them.
        gain: the mean voltage for a constant current of 1.
    """

    weights: Tensor
    gain: float


def trace_weights(neuron: Neuron, steps: int) -> TraceWeights:
    """Return the weights of a neuron's mean presynaptic trace over T steps.

    Raises:
        SigpropError: as `impulse_response`.
    """
    leaky = leak(neuron) if isinstance(neuron, Neuron) and neuron.closed_form else None
    if leaky is None:
        return _weights(impulse_response(neuron, steps))
    return _leaky_weights(leaky, whole("steps", steps))


@functools.lru_cache(maxsize=64)
def _leaky_weights(leaky: Leak, steps: int) -> TraceWeights:
    # A batch that comes later may be on another device, or need a gradient.
    with torch.inference_mode(False), torch.device("cpu"):
        return _weights(_leaky_response(leaky, steps))


def _weights(response: Tensor) -> TraceWeights:
    weights = response.cumsum(0).flip(0) / response.shape[0]
    gain = float(weights.sum())
    return TraceWeights(weights / (gain or 1.0), gain)


def _weighted(inputs: Tensor | Spikes, by: TraceWeights) -> MeanTrace:
    if not isinstance(inputs, Tensor):
        constant = inputs.constant
        return MeanTrace(
            inputs.dense()[0] if constant else inputs.weighted_sum(by.weights), by.gain
        )
    if is_constant(inputs):
        return MeanTrace(inputs[0], by.gain)
    trace = by.weights.to(inputs) @ inputs.reshape(inputs.shape[0], -1)
    return MeanTrace(trace.view(inputs.shape[1:]), by.gain)


class Leak(NamedTuple):
    """The filter of a leaky membrane: U[t] = beta U[t-1] + gain I[t].

    Attributes:
        beta: the fraction of the voltage that remains after one step.
        gain: the factor of the current.
    """

    beta: float
    gain: float


def leak(neuron: Neuron) -> Leak | None:
    """Return the filter of a leaky model with constants, or none for another model."""
    if type(neuron) is LIF:  # a subclass may differ
        return Leak(float(neuron.beta), float(neuron.current_gain))
    return Leak(float(neuron.beta), 1.0) if type(neuron) is LeakyIntegrator else None


def _leaky_response(leaky: Leak, steps: int) -> Tensor:
    ratios = torch.full((steps,), leaky.beta, dtype=torch.float64)
    ratios[0] = leaky.gain
    return ratios.cumprod(0)


def filter_in_place(neuron: Neuron[S], current: Tensor, state: S) -> S:
    """Return the state after one step of a neuron's filter; the given state may be overwritten.

    Args:
        neuron: a model with a fixed linear filter.
        current: of this step, `[N, ...]`.
        state: from the last step.
    """
    leaky = leak(neuron)
    if leaky is None:
        return neuron.filter(current, state)
    state.voltage.mul_(leaky.beta).add_(current, alpha=leaky.gain)
    return state


class Geometric(NamedTuple):
    """A geometric impulse response, first * ratio^t.

    Attributes:
        first: the response at step 0.
        ratio: each value divided by the one before.
    """

    first: float
    ratio: float


def geometric_response(response: Tensor) -> Geometric | None:
    """Return the first value and ratio of an impulse response `[T]`, or None if not geometric."""
    _check_response(response)
    first = float(response[0])
    if first == 0.0:
        return None
    ratio = float(response[1]) / first if len(response) > 1 else 0.0
    same = torch.allclose(response[1:], ratio * response[:-1], rtol=1e-12, atol=0.0)
    return Geometric(first, ratio) if same else None


def filter_matrix(response: Tensor) -> Tensor:
    """Return the filter as a lower-triangular matrix H `[T, T]`, so that U = H I."""
    _check_response(response)
    steps = response.shape[0]
    lag = torch.arange(steps)[:, None] - torch.arange(steps)[None, :]
    return torch.where(lag >= 0, response[lag.clamp(min=0)], 0.0)


def _check_activity(inputs: object) -> None:
    """Check that something is an activity over time.

    Raises:
        SigpropError: if it is none.
    """
    shape = getattr(inputs, "shape", None)
    if shape is None or not hasattr(inputs, "flatten") or len(shape) < 2:
        raise refused("inputs", inputs, "a tensor or spikes [T, B, ...]")


def _check_response(response: object) -> None:
    """Check that something is an impulse response.

    Raises:
        SigpropError: if it is none.
    """
    if not isinstance(response, Tensor) or response.dim() != 1 or not len(response):
        raise refused("response", response, "a tensor [T], such as impulse_response(...)")
