"""The gradient of an affine block in closed form, from what it received alone.

A block's current is c = s (W x + b) + o: a synapse with weights W and bias b, and a normaliser
whose s and o hold for a whole channel, at all steps. So one product, G = sum of delta x over all
rows, gives every gradient: s G for the weights, and for the normaliser's gain the product of W with
G, channel by channel. No current has to be kept, or made, to learn from it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sigprop_snn.network.norm import RunningNorm, RunningScale
from sigprop_snn.network.synapse import EventLinear
from sigprop_snn.neurons.filters import is_constant
from sigprop_snn.neurons.kernels import (
    Packed,
    convolution_outer,
    event_outer,
    flattened,
    outer_pays,
    scale_rows,
    unpacked,
)

_LINEAR = (nn.Linear, EventLinear)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Affine(NamedTuple):
    """A synapse and normaliser whose gradient has the closed form.

    Attributes:
        flat: whether the input is flattened first.
        synapse: the layer with the weights.
        norm: the normaliser, or none.
    """

    flat: bool
    synapse: Any
    norm: RunningScale | RunningNorm | None

    @classmethod
    def of(cls, synapse: nn.Module, norm: nn.Module) -> Affine | None:
        """Return the parts of a block that has the closed form, else none."""
        flat = False
        if type(synapse) is nn.Sequential and len(synapse) == 2 and not _altered(synapse):
            before, synapse = synapse
            if not (type(before) is nn.Flatten and (before.start_dim, before.end_dim) == (1, -1)):
                return None
            flat = True
        if not (type(synapse) in _LINEAR or _plain_convolution(synapse)) or _altered(synapse):
            return None
        if isinstance(norm, nn.Identity):
            return cls(flat, synapse, None)
        if type(norm) is RunningScale or type(norm) is RunningNorm:
            return cls(flat, synapse, norm)
        return None

    def attach(
        self,
        inputs: Tensor | Packed,
        value: Tensor,
        factor: float = 1.0,
        riding: Tensor | None = None,
    ) -> Tensor:
        """Return `value` with the gradient that the current of `inputs` has, times a factor.

        Args:
            inputs: what the block received, `[T, N, ...]` or `[N, ...]`, held constant.
            value: of the current's shape; its numbers don't matter here.
            factor: by which the gradient is multiplied.
            riding: the current of C rows behind the N, `[C, ...]`, if there are any: the last rows
                of a value without steps have its gradient.
        """
        stepped = value.dim() - self._axes == 2 and inputs.shape[0] > 1
        if stepped and isinstance(inputs, Tensor) and is_constant(inputs):
            # One product for all steps: the gradients of the steps are summed before it.
            return self.attach(inputs[:1], value[:1], factor).expand(value.shape)
        norm = self.norm
        attached: Tensor = _Attached.apply(
            value,
            inputs,
            self,
            factor,
            self.synapse.weight,
            self.synapse.bias,
            norm.gain if norm is not None else None,
            norm.shift if isinstance(norm, RunningNorm) else None,
            riding,
        )
        return attached

    @property
    def _axes(self) -> int:
        """Number of axes of a row's current: its channels, and what they extend over."""
        return max(1, int(self.synapse.weight.dim()) - 1)

    def weight_gradient(self, inputs: Tensor | Packed, grad: Tensor) -> Tensor:
        """Return G, of the weight's shape, for a gradient of the current's shape."""
        synapse = self.synapse
        if isinstance(synapse, nn.Linear):
            if self.flat:
                stepped = grad.dim() == 3
                inputs = flattened(inputs) if stepped else unpacked(inputs).flatten(1)
            return event_outer(inputs, grad)
        if isinstance(inputs, Packed) and isinstance(synapse, nn.Conv2d) and outer_pays(inputs):
            kernel, padding = synapse.kernel_size, synapse.padding
            assert not isinstance(padding, str)  # `of` saw to it
            return convolution_outer(inputs, grad.float(), _pair(kernel), _pair(padding))
        inputs = unpacked(inputs)
        assert isinstance(synapse, _CONVOLUTIONS)
        axes = len(synapse.kernel_size) + 1
        rows = grad.reshape(-1, *grad.shape[-axes:]).to(inputs)
        _, found, _ = torch.ops.aten.convolution_backward(
            rows,
            inputs.reshape(-1, *inputs.shape[-axes:]),
            synapse.weight.to(inputs),
            None,
            synapse.stride,
            synapse.padding,
            synapse.dilation,
            False,
            [0] * (axes - 1),
            synapse.groups,
            [False, True, False],
        )
        weight: Tensor = found
        return weight.to(synapse.weight)

    def channel_sums(self, grad: Tensor) -> Tensor:
        """Return the sum of a gradient of the current's shape over all but the channels, `[F]`."""
        if self._axes > 1:
            grad = grad.flatten(grad.dim() - self._axes + 1).sum(-1)
        # Axis by axis, which is many times faster than both at once.
        while grad.dim() > 1:
            grad = grad.sum(0)
        return grad.to(self.synapse.weight.dtype)


class _Attached(torch.autograd.Function):
    """The identity, with the gradients of a block's current."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        inputs: Tensor | Packed,
        affine: Affine,
        factor: float,
        weight: Tensor,
        bias: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        riding: Tensor | None,
    ) -> Tensor:
        ctx.affine, ctx.factor = affine, factor
        ctx.inputs = inputs
        ctx.riding = 0 if riding is None else len(riding)
        return value.view_as(value)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), factor = grads, ctx.factor
        of_riding = None
        if ctx.riding:
            of_riding = factor * grad[-ctx.riding :]
            grad = grad[: -ctx.riding]
        of_weight, of_bias, of_gain, of_shift = _gradients(ctx.affine, ctx.inputs, grad, factor)
        return None, None, None, None, of_weight, of_bias, of_gain, of_shift, of_riding


def _gradients(
    affine: Affine, inputs: Tensor | Packed, grad: Tensor, factor: float
) -> tuple[Tensor | None, ...]:
    """Return the gradients of weight, bias, gain and shift.

    Args:
        affine: the block.
        inputs: what it received.
        grad: the current's gradient, but for a factor.
        factor: by which it is to be multiplied.
    """
    weight, bias, norm = affine.synapse.weight, affine.synapse.bias, affine.norm
    with torch.autocast(grad.device.type, enabled=False):
        product = affine.weight_gradient(inputs, grad)
    sums = factor * affine.channel_sums(grad)
    if norm is None:
        return product.mul_(factor), sums if bias is not None else None, None, None
    unit = norm.unit()
    scale = (norm.gain * unit).detach()
    # What the synapse gave, times the gradient, summed: the current itself is not needed.
    of_raw = factor * scale_rows(product, factor * scale, weight.detach().to(product))
    if bias is not None:
        of_raw = of_raw + bias.detach() * sums
    if isinstance(norm, RunningNorm):
        of_raw = of_raw - norm.mean * sums
    return (
        product,
        scale * sums if bias is not None else None,
        unit * of_raw,
        sums if isinstance(norm, RunningNorm) else None,
    )


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def _plain_convolution(module: nn.Module) -> bool:
    return (
        type(module) in _CONVOLUTIONS
        and isinstance(module, _CONVOLUTIONS)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _altered(module: nn.Module) -> bool:
    """Return whether something else than its weights shapes what a layer does."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    )
