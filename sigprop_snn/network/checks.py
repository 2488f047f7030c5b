"""What a network checks of a batch, and of autograd, before it runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Update
from sigprop_snn.layers.parameters import first_parameter
from sigprop_snn.signals.base import Signal


def check_tensor(name: str, value: Any, expected: str) -> None:
    """Check that an argument is a tensor.

    Args:
        name: the argument's name, with its verb: "inputs are".
        value: the argument.
        expected: its axes.

    Raises:
        SigpropError: if it is something else; the message says how to convert an array.
    """
    if isinstance(value, Tensor):
        return
    kind = type(value).__name__
    hint = (
        ": torch.as_tensor(...)" if hasattr(value, "__array__") or isinstance(value, list) else ""
    )
    raise SigpropError(f"{name} a {kind}; expected a tensor {expected}{hint}")


def check_inputs(inputs: Any, sample: Sequence[int] | None = None) -> None:
    """Check the axes of samples `[T, B, ...]` at the start of a pass.

    Args:
        inputs: the samples.
        sample: the shape of one step of one sample, where it is known.

    Raises:
        SigpropError: if it is no tensor, an axis is missing or empty, or there is no time axis.
    """
    # Autocast keeps the weights it has cast until its context ends, but layers learn meanwhile.
    torch.clear_autocast_cache()
    check_tensor("inputs are", inputs, "[T, B, ...]")
    if inputs.layout != torch.strided or inputs.is_complex():
        kind = inputs.dtype if inputs.is_complex() else inputs.layout
        raise SigpropError(f"inputs are {kind}; expected real numbers in a dense tensor")
    shape = list(inputs.shape)
    if sample is not None and shape[1:] == list(sample):
        raise SigpropError(
            f"inputs have shape {shape}, samples of shape {list(sample)} without a time axis; "
            "expected [T, B, ...], time first. For a static picture: x.expand(T, *x.shape)"
        )
    if inputs.dim() < 3 or min(shape) < 1:
        raise SigpropError(f"inputs have shape {shape}; expected [T, B, ...], none of them empty")


def check_labels(inputs: Any, labels: Any) -> None:
    """Check that labels are a tensor, and that their batch is not the first axis of the inputs.

    Raises:
        SigpropError: if one is no tensor, or the inputs are batch first.
    """
    check_tensor("inputs are", inputs, "[T, B, ...]")
    check_tensor("labels are", labels, "[B]")
    if labels.dim() < 1 or inputs.dim() < 2:
        return
    rows, (first, second) = len(labels), inputs.shape[:2]
    if 1 < rows == first != second:
        raise SigpropError(
            f"inputs have shape {list(inputs.shape)} and labels {list(labels.shape)}, batch first; "
            "expected inputs [T, B, ...], time first, and labels [B]. For inputs [B, T, ...]: "
            "x.transpose(0, 1); for a static picture: x.expand(T, *x.shape)"
        )


def pairs(batches: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of a loader.

    Raises:
        SigpropError: if it can't be iterated, or a batch is no pair of inputs and labels.
    """
    expected = "pairs (inputs [T, B, ...], labels [B])"
    if not isinstance(batches, Iterable) or isinstance(batches, Tensor | str):
        data = type(batches).__name__ == "Data"
        hint = ", such as data.test" if data else ""
        raise SigpropError(f"batches is a {type(batches).__name__}; expected {expected}{hint}")
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise SigpropError(f"batches gives a {type(batch).__name__}{size}; expected {expected}")
        yield batch[0], batch[1]


def check_made_outside_inference(network: nn.Module) -> None:
    """Check that a network's tensors can learn: that none was made in `torch.inference_mode()`.

    Raises:
        SigpropError: if one was; it names the first.
    """
    if not _holds_inference(network):
        return
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_inference():
            raise SigpropError(
                f"{name!r} of the network was made under torch.inference_mode() and can't change; "
                "expected a network made outside of it"
            )


def _holds_inference(module: nn.Module) -> bool:
    """Return whether a module has a tensor of `torch.inference_mode()`; names take longer."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None and tensor.is_inference():
            return True
    return any(part is not None and _holds_inference(part) for part in module._modules.values())


@contextmanager
def learning_mode(network: nn.Module, update: Update | None) -> Iterator[Update | None]:
    """Compute gradients in the `with` block, although the caller may have turned them off.

    A layer needs a gradient for its own weights, and people read "no backward pass" as "works
    under `torch.no_grad()` and `torch.inference_mode()`".

    Args:
        network: the network that learns.
        update: what the network calls with a layer's name.

    Yields:
        The update, which runs under `torch.no_grad()` if the caller turned gradients off: a
        function that changes weights in place may need it.

    Raises:
        SigpropError: as in `check_made_outside_inference`.
    """
    check_made_outside_inference(network)
    enabled = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()

    def without_gradients(layer: str) -> object:
        assert update is not None
        with torch.no_grad():
            return update(layer)

    with torch.inference_mode(False), torch.enable_grad():
        try:
            with one_dtype(network):
                yield update if update is None or enabled else without_gradients
        except SigpropError as error:
            _blame_weights(network, error)
            raise


@contextmanager
def one_dtype(network: nn.Module) -> Iterator[None]:
    """Turn torch's error for weights of several dtypes into one that names a weight of each.

    Raises:
        SigpropError: if torch can't run the `with` block for the weights' dtypes.
    """
    try:
        yield
    except (RuntimeError, SigpropError) as error:
        # Weights of several dtypes may work, so only torch's own errors about types are renamed.
        from_torch = isinstance(error, RuntimeError) or isinstance(error.__cause__, RuntimeError)
        if from_torch and "type" in str(error):
            names = {p.dtype: n for n, p in network.named_parameters() if p.is_floating_point()}
            if len(names) > 1:
                found = " and ".join(f"{name!r} is {dtype}" for dtype, name in names.items())
                raise SigpropError(
                    f"the network's weights have several dtypes: {found}; expected one, such as "
                    "network.to(torch.float32)"
                ) from error
        raise


def _blame_weights(network: nn.Module, error: SigpropError) -> None:
    """Raise an error that names the first parameter that is not finite, if there is one."""
    for name, parameter in network.named_parameters():
        if not torch.isfinite(parameter).all():
            hint = ""
            if parameter.dtype in (torch.float16, torch.bfloat16):
                hint = f" or weights in float32, under torch.autocast (these are {parameter.dtype})"
            raise SigpropError(
                f"parameter {name!r} is not finite after an earlier update; expected a smaller "
                f"learning rate{hint}"
            ) from error


def as_constant(values: Tensor) -> Tensor:
    """Return values without their gradient; one of `torch.inference_mode()` is copied."""
    return values.clone() if values.is_inference() else values.detach()


def as_targets(labels: Tensor, signal: Signal) -> Tensor:
    """Return classes as int64, and other targets as floating point numbers."""
    if labels.is_floating_point():
        return labels
    if signal.answers != "classes":
        return labels.float()
    labels = labels.long()
    # The error for a wrong label comes later there, and until then the label must not break CUDA.
    return labels if labels.device.type == "cpu" else labels.clamp(0, signal.classes - 1)


_AUTOCAST_TAKES = (torch.float32, torch.float16, torch.bfloat16)


def as_weights(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return inputs in the dtype of a network's weights.

    Under autocast only whole numbers and float64 change, which autocast leaves as they are.

    Events are counted in integers, and numpy's numbers are float64.
    """
    weights = first_parameter(network)
    kind = inputs.device.type
    mixed = inputs.dtype in _AUTOCAST_TAKES and torch.is_autocast_enabled(kind)
    return inputs if mixed or weights is None else inputs.to(weights.dtype)


class Reached:
    """Which parameters get a gradient in a batch.

    Args:
        network: the network, before the batch.
        leaves: the parts that stay as they are by design; see `Rule`.
    """

    def __init__(self, network: nn.Module, leaves: Iterable[str] = ()) -> None:
        learning = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.nothing_learns = not learning
        self._waiting = {
            name: p
            for name, p in learning
            if p.grad is None and not set(leaves).intersection(name.split("."))
        }

    def watch(self, update: Update | None) -> Update | None:
        """Return the update, which notes the gradients before it may free them."""
        if update is None:
            return None

        def noted(layer: str) -> object:
            self._note()
            return update(layer)

        return noted

    def warn(self, rule: str) -> None:
        """Warn of the parameters without a gradient, at the end of the batch."""
        self._note()
        if self.nothing_learns:
            warnings.warn(
                "the network can't learn: every parameter has requires_grad=False; expected at "
                "least one that learns",
                stacklevel=5,
            )
        elif self._waiting:
            names = list(self._waiting)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            warnings.warn(
                f"rule {rule} gives no gradient to {', '.join(names[:5])}{more}; expected "
                "requires_grad=False for parameters that stay as they are",
                stacklevel=5,
            )

    def _note(self) -> None:
        self._waiting = {name: p for name, p in self._waiting.items() if p.grad is None}
