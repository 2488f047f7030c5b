"""Feedback alignment: backpropagation of the error through fixed random weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.neurons.filters import mean_trace_of
from sigprop_snn.rules.passes import (
    Fixed,
    check_blocks,
    full_graph,
    learn_from,
    readout_of,
    reported,
    update_all,
)
from sigprop_snn.shapes import Layout

_NAME = "feedback-alignment"


class FeedbackAlignment(nn.Module, Rule):
    """Backpropagation with fixed random feedback weights (Lillicrap et al. 2016).

    At each synapse the error passes back through fixed random weights, B^T e, instead of the
    transposed weights, W^T e. Everything else is backpropagation through time with the surrogate
    derivative.

    Args:
        layout: the network's shapes. Synapses are linear layers, 2-d convolutions, or sequences
            of these and modules without weights.
    """

    needs: ClassVar[Needs] = Needs(
        backward_pass=True, feedback_weights=True, stored_activations="both"
    )

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        self.feedback = nn.ModuleList(
            nn.ModuleList(Fixed(_drawn(shape)) for shape in shapes) for shapes in layout.weights
        )
        self.readout_feedback = Fixed(_drawn((layout.classes, math.prod(layout.outputs[-1]))))

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch forward and the error back through the feedback weights."""
        readout = readout_of(network, _NAME)
        check_blocks(network, len(self.feedback), _NAME)
        weights = self._weights()

        def aligned(name: str, block: Block) -> Aligned:
            if block.neuron.recurrence is not None:
                raise SigpropError(
                    f"{_NAME} has no feedback weights for the recurrence of {name}; expected a "
                    "neuron without recurrence"
                )
            return Aligned(block.synapse, next(weights), name)

        sent = full_graph(network, inputs, aligned)
        trace, gain = mean_trace_of(readout.neuron, sent.flatten(2))
        back = self.readout_feedback.weight
        scores = gain * Aligned(readout.synapse, [back], "readout")(trace)
        loss = readout.loss(scores, labels)
        learn_from(loss)
        update_all(update, network)
        return reported(network, scores, loss, labels)

    def _weights(self) -> Iterator[list[Tensor]]:
        for parts in self.feedback:
            assert isinstance(parts, nn.ModuleList)
            yield [part.weight for part in parts if isinstance(part, Fixed)]


class Aligned:
    """A synapse with an unchanged current that sends the error back through feedback weights.

    Args:
        synapse: a linear layer, a 2-d convolution, or a sequence of these and modules without
            weights.
        feedback: a tensor for each weight of the synapse, of the same shape.
        name: the layer's name, for error messages.

    Raises:
        SigpropError: if another kind of module has weights, or the shapes differ.
    """

    def __init__(self, synapse: nn.Module, feedback: Sequence[Tensor], name: str) -> None:
        self.parts = list(_parts(synapse))
        self.feedback = feedback
        found = []
        for part in self.parts:
            if next(part.parameters(), None) is None:
                continue
            if not (isinstance(part, nn.Linear) or _plain_conv(part)):
                raise SigpropError(
                    f"{_NAME} can't send an error back through {part} in {name}; expected "
                    "nn.Linear, or nn.Conv2d padded with a number of zeros"
                )
            weight = part.weight
            assert isinstance(weight, Tensor)
            found.append(tuple(weight.shape))
        expected = [tuple(weight.shape) for weight in feedback]
        if found != expected:
            raise SigpropError(
                f"{_NAME} has feedback weights of shapes {expected} for {name}, but its weights "
                f"have shapes {found}; expected the same"
            )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the synapse's current for inputs `[N, ...]`."""
        weights = iter(self.feedback)
        for part in self.parts:
            if next(part.parameters(), None) is None:
                inputs = part(inputs)
                continue
            back = next(weights)
            current = part(inputs.detach())
            if isinstance(part, nn.Linear):
                inputs = _LinearBack.apply(inputs, current, back)
            else:
                inputs = _ConvBack.apply(inputs, current, back, part)
        return inputs


class _LinearBack(torch.autograd.Function):
    """A linear layer's current; the input's error is the current's error times B."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, current: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return current.view_as(current)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (back,) = ctx.saved_tensors
        return (grads[0] @ back if ctx.needs_input_grad[0] else None), grads[0], None


class _ConvBack(torch.autograd.Function):
    """A convolution's current; the input's error is the transposed convolution with B."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, current: Tensor, back: Tensor, conv: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(back)
        ctx.conv, ctx.shape = conv, inputs.shape
        return current.view_as(current)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (back,) = ctx.saved_tensors
        conv, error = ctx.conv, None
        if ctx.needs_input_grad[0]:
            error = conv2d_input(  # type: ignore[no-untyped-call]
                ctx.shape, back, grads[0], conv.stride, conv.padding, conv.dilation, conv.groups
            )
        return error, grads[0], None, None


def _parts(synapse: nn.Module) -> Iterator[nn.Module]:
    if isinstance(synapse, nn.Sequential):
        for part in synapse:
            yield from _parts(part)
    else:
        yield synapse


def _plain_conv(part: nn.Module) -> bool:
    return (
        isinstance(part, nn.Conv2d)
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
    )


def _drawn(shape: tuple[int, ...]) -> Tensor:
    """Return weights drawn like the initial weights of torch layers."""
    weight = torch.empty(shape)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight
