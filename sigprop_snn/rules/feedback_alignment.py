"""Feedback alignment: backpropagation whose error travels back through random weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.neurons import impulse_response, mean_trace
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

    Wherever the error would pass a synapse through the transposed weights, W^T e, it passes
    through weights of its own that were drawn once, B^T e. Everything else is backpropagation:
    through the spikes by the surrogate derivative, and through time.

    Args:
        layout: the network's shapes. Synapses are linear layers, 2-d convolutions, and sequences
            of them with what has no weights.
    """

    needs: ClassVar[Needs] = Needs(
        backward_pass=True, feedback_weights=True, stored_activations="both"
    )

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.feedback = nn.ModuleList(
            nn.ModuleList(Fixed(_drawn(shape)) for shape in shapes) for shapes in layout.weights
        )
        self.readout_feedback = Fixed(_drawn((layout.classes, math.prod(layout.outputs[-1]))))

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through, and the error back by the feedback weights."""
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
        response = impulse_response(readout.neuron, sent.shape[0])
        trace, gain = mean_trace(sent.flatten(2), response)
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
    """A synapse with the same current, whose error goes back through feedback weights.

    Args:
        synapse: a linear layer, a 2-d convolution, or a sequence of these with what has no
            weights.
        feedback: a tensor for each weight of the synapse, in its shape.
        name: of the layer, for errors.

    Raises:
        SigpropError: if the synapse has other weights, or the shapes differ.
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
                f"{_NAME} has feedback weights of shapes {expected} for {name}, whose weights "
                f"have {found}; expected the same"
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
    """A linear layer's current; the error of its input is that of the current times B."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, current: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return current.view_as(current)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (back,) = ctx.saved_tensors
        return (grads[0] @ back if ctx.needs_input_grad[0] else None), grads[0], None


class _ConvBack(torch.autograd.Function):
    """A convolution's current; the error of its input is the convolution by B, transposed."""

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
    """Return weights drawn as torch draws those of its own layers."""
    weight = torch.empty(shape)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight
