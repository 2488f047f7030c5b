"""The gradient of a block's current in closed form, from the block's input alone.

The current is c = s (W x + b) + o: a synapse with weights W and bias b, and a normaliser whose
scale s and offset o hold for a whole channel, at all steps. So one product, G = sum of delta x^T
over all rows, gives every gradient: s G for the weights, and for the normaliser's gain the product
of W with G, channel by channel. The current is not stored, and not computed, to learn from it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sigprop_snn.device import without_autocast
from sigprop_snn.layers.norm import RunningNorm, RunningScale
from sigprop_snn.neurons.engines import PlainSynapse, Spikes, engine_for, plain_synapse
from sigprop_snn.neurons.engines.plain import altered
from sigprop_snn.neurons.module_kinds import Weighted


class LinearCurrent(NamedTuple):
    """A plain synapse and a running normaliser: a current with this closed form.

    Attributes:
        layer: the layer with the weights.
        flattens: whether the input is flattened first.
        norm: the normaliser, or none.
    """

    layer: Weighted
    flattens: bool
    norm: RunningScale | RunningNorm | None

    @classmethod
    def of(cls, synapse: nn.Module, norm: nn.Module) -> LinearCurrent | None:
        """Return the parts of a block whose current has the closed form, else none."""
        plain: PlainSynapse | None = plain_synapse(synapse)
        if plain is None or altered(norm):
            return None
        if isinstance(norm, nn.Identity):
            return cls(plain.layer, plain.flattens, None)
        if type(norm) is RunningScale or type(norm) is RunningNorm:
            return cls(plain.layer, plain.flattens, norm)
        return None

    def takes(self, row: torch.Size) -> bool:
        """Return whether the form holds for rows of this shape.

        It does not for a linear layer over the last of several axes, whose channels are not the
        normaliser's.
        """
        return self.flattens or not isinstance(self.layer, nn.Linear) or len(row) == 1

    def attach(
        self,
        inputs: Spikes | Tensor,
        value: Tensor,
        factor: float = 1.0,
        contexts: Tensor | None = None,
        mean_input: Tensor | None = None,
    ) -> Tensor:
        """Return `value` with the gradient of the current of `inputs`, times a factor.

        Args:
            inputs: the input of the block, held constant: spikes `[T, N, ...]`, or rows without
                steps, such as traces, `[N, ...]`.
            value: of the current's shape; only its gradient is used.
            factor: multiplies the gradient.
            contexts: the current of C rows behind the N, `[C, ...]`, where the value has no
                steps: its last rows give their gradient to them.
            mean_input: the mean input of a row, `[...]`, that the weight's gradient leaves out:
                sum of delta (x - m)^T in place of sum of delta x^T. None leaves out nothing.
        """
        if not isinstance(inputs, Tensor) and inputs.constant and len(value) > 1:
            # One product for all steps: the gradients of the steps are summed before it.
            first = self.attach(inputs.dense()[:1], value[:1], factor, mean_input=mean_input)
            return first.expand(value.shape)
        attached: Tensor = _Attached.apply(
            value, inputs, self, factor, *self.parameters, contexts, mean_input
        )
        return attached

    @property
    def parameters(self) -> tuple[Tensor | None, ...]:
        """The weight, the bias, the gain and the shift; none for one that does not exist."""
        norm = self.norm
        return (
            self.layer.weight,
            self.layer.bias,
            norm.gain if norm is not None else None,
            norm.shift if isinstance(norm, RunningNorm) else None,
        )

    def gradients(
        self,
        inputs: Spikes | Tensor,
        grad: Tensor,
        factor: float | Tensor,
        mean_input: Tensor | None = None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the parameters, in their order.

        Args:
            inputs: the input of the block, as in `attach`.
            grad: the gradient of the current, before the factor.
            factor: multiplies it.
            mean_input: the mean input that the weight's gradient leaves out, or none.

        Returns:
            The gradients of weight, bias, gain and shift.
        """
        layer, norm = self.layer, self.norm
        _, bias, gain, _ = self.parameters
        engine = engine_for(grad.device)
        kind = grad.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        raw_sums = self.channel_sums(grad)
        sums = factor * raw_sums
        if norm is None:
            with without_autocast(kind):
                product = engine.weight_gradient(layer, inputs, grad, precision).mul_(factor)
            if mean_input is not None:
                rows = sums.view(-1, *[1] * (product.dim() - 1))
                product.addcmul_(rows, self.mean_per_weight(mean_input).to(product), value=-1.0)
            return product, sums if bias is not None else None, None, None
        assert gain is not None  # a normaliser has one
        unit = norm.unit()
        scale = (gain * unit).detach()
        left_out = None if mean_input is None else (raw_sums, self.mean_per_weight(mean_input))
        with without_autocast(kind):
            product, dots = engine.scaled_weight_gradient(
                layer, inputs, grad, factor * scale, precision, left_out
            )
        # sum(grad * (W x + b)) follows from G, W and b, so the current is not needed.
        grad_raw = factor * dots
        if bias is not None:
            grad_raw = grad_raw + bias.detach() * sums
        if isinstance(norm, RunningNorm):
            grad_raw = grad_raw - norm.mean * sums
        return (
            product,
            scale * sums if bias is not None else None,
            unit * grad_raw,
            sums if isinstance(norm, RunningNorm) else None,
        )

    def mean_per_weight(self, mean_input: Tensor) -> Tensor:
        """Return the mean input that every weight meets, broadcasting against the weight.

        A weight of a convolution meets its channel at every position of the output, and the zeros
        of the padding at the border.

        Args:
            mean_input: the mean input of a row, `[...]`.
        """
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return mean_input.flatten()
        shape = (layer.groups, *layer.weight.shape[1:])
        probe = mean_input.new_zeros(shape).requires_grad_()
        with torch.enable_grad():
            size = len(layer.kernel_size)
            convolve = (F.conv1d, F.conv2d, F.conv3d)[size - 1]
            met = convolve(
                mean_input.unsqueeze(0), probe, None,
                layer.stride, layer.padding, layer.dilation, layer.groups,  # type: ignore[arg-type]
            )  # fmt: skip
            (taps,) = torch.autograd.grad(met.sum() / met[0, 0].numel(), probe)
        if layer.groups == 1:  # all channels of the output meet the same
            return taps
        return taps.repeat_interleave(len(layer.weight) // layer.groups, dim=0)

    def channel_sums(self, grad: Tensor) -> Tensor:
        """Return the sum of the current's gradient over all axes but the channels, `[F]`."""
        weight = self.layer.weight
        axes = max(1, weight.dim() - 1)  # channels, and their positions
        if axes > 1:
            sums = engine_for(grad.device).channel_sums(grad.flatten(0, -axes - 1))
            return sums.to(weight.dtype)
        if grad.dim() == 3 and grad.is_cpu and grad.dtype == torch.float32:
            # The steps of rows: a product with ones takes half the time of a sum.
            grad = (grad.new_ones(len(grad)) @ grad.flatten(1)).view(grad.shape[1:])
        # Axis by axis, which is many times faster than both at once.
        while grad.dim() > 1:
            grad = grad.sum(0)
        return grad.to(weight.dtype)


class _Attached(torch.autograd.Function):
    """The identity, with the gradients of a block's current."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        inputs: Spikes | Tensor,
        current: LinearCurrent,
        factor: float,
        weight: Tensor,
        bias: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        contexts: Tensor | None,
        mean_input: Tensor | None,
    ) -> Tensor:
        ctx.mean_input = mean_input
        ctx.current, ctx.factor, ctx.inputs = current, factor, inputs
        ctx.n_contexts = 0 if contexts is None else len(contexts)
        return value.view_as(value)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), factor = grads, ctx.factor
        grad_contexts = None
        if ctx.n_contexts:
            grad_contexts = factor * grad[-ctx.n_contexts :]
            grad = grad[: -ctx.n_contexts]
        found = ctx.current.gradients(ctx.inputs, grad, factor, ctx.mean_input)
        return None, None, None, None, *found, grad_contexts, None
