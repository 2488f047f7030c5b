"""Which backend runs a neuron."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons.base import AnyState, Neuron, State
from sigprop_snn.neurons.kernels.fused import Kernel
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.surrogates import Surrogate

Backend = Literal["auto", "eager", "cpu", "triton"]
BACKENDS: tuple[Backend, ...] = ("auto", "eager", "cpu", "triton")

_RECORDED = ("spike", "voltage")
_DTYPES = {
    "cpu": (torch.float32, torch.bfloat16),
    "triton": (torch.float32, torch.bfloat16, torch.float16),
}


def fused_kernel(
    neuron: Neuron,
    current: Tensor,
    riding: Tensor | None,
    state: AnyState,
    names: tuple[str, ...],
    backend: Backend = "auto",
) -> Kernel | None:
    """Return the kernel for a run, or none where the eager loop runs it.

    Args:
        neuron: the neuron model.
        current: its current, `[T, B, ...]`.
        riding: the constant current of the rows behind the batch, `[C, ...]`, or none.
        state: where it starts.
        names: what it records.
        backend: the choice; "auto" falls back to the eager loop by itself.

    Raises:
        SigpropError: if a kernel was asked for by name and can't serve.
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    if backend == "eager":
        return None
    name = backend if backend != "auto" else ("triton" if current.is_cuda else "cpu")
    reason = (
        unfit_neuron(neuron)
        or _unfit_tensors(name, current, riding, state)
        or _unfit_names(names)
        or _unfit_machine(name, current)
    )
    if reason is None:
        return _load(name)
    if backend == "auto":
        return None
    raise SigpropError(f"the {name!r} backend can't run this: {reason}")


def _load(name: str) -> Kernel:
    # Imported on use: numba and Triton take a second, and not every machine has both.
    if name == "triton":
        from sigprop_snn.neurons.kernels.cuda import lif_triton

        return lif_triton
    from sigprop_snn.neurons.kernels.cpu import lif_cpu

    return lif_cpu


def unfit_neuron(neuron: Neuron) -> str | None:
    """Return why no kernel runs a neuron model, or none."""
    # A subclass may override any part of the step, so only the model itself will do.
    if type(neuron) is not LIF:
        return f"the neuron is {type(neuron).__name__}; it knows LIF"
    if not all(isinstance(x, float | int) for x in (neuron.beta, neuron.threshold)):
        return "beta or threshold is not a plain number"
    if neuron.recurrence is not None:
        return "the layer is recurrent"
    if type(neuron.surrogate).spike is not Surrogate.spike:
        return f"{type(neuron.surrogate).__name__} makes its own spikes"
    return None


def _unfit_tensors(
    name: str, current: Tensor, riding: Tensor | None, state: AnyState
) -> str | None:
    tensors = [current, state.voltage] if riding is None else [current, riding, state.voltage]
    rows = current.shape[1] + (0 if riding is None else riding.shape[0])
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return "a gradient is asked for"
    if current.dtype not in _DTYPES[name]:
        return f"the current is {current.dtype}"
    if type(state) is not State or state.voltage.dtype != torch.float32:
        return "the state is not a float32 voltage"
    if state.voltage.shape != (rows, *current.shape[2:]) or state.voltage.numel() == 0:
        return f"the state has shape {list(state.voltage.shape)}"
    if len({t.device for t in tensors}) > 1:
        return "current and state are on different devices"
    return None


def _unfit_names(names: tuple[str, ...]) -> str | None:
    beyond = [name for name in names if name not in _RECORDED]
    return f"it does not record {', '.join(beyond)}" if beyond else None


def _unfit_machine(name: str, current: Tensor) -> str | None:
    if torch.compiler.is_compiling():
        return "torch.compile traces the eager loop"
    module = "triton" if name == "triton" else "numba"
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    expected = "cuda" if name == "triton" else "cpu"
    if current.device.type != expected and not (name == "triton" and interpreted):
        return f"the current is on {current.device}"
    return None
