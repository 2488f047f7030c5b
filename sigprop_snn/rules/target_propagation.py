"""Difference target propagation: learned inverses send targets, not errors, back."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance, not_negative, positive
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.neurons import Rate
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.rules.passes import (
    check_blocks,
    layer_graphs,
    learn_from,
    learn_from_error,
    readout_of,
    reported,
    updated,
)
from sigprop_snn.shapes import Layout

_NAME = "target-propagation"


class TargetPropagation(nn.Module, Rule):
    """Difference target propagation (Lee et al. 2015) for fully connected rate networks.

    With a block's activity h_i = f_i(h_(i-1)), a sample's loss L_n at the readout, and an inverse
    g_i that learns to compute h_(i-1) from h_i:

        target_N = h_N - step * dL_n/dh_N
        target_(i-1) = h_(i-1) + g_i(target_i) - g_i(h_i)
        loss of block i:   |f_i(h_(i-1)) - target_i|^2
        loss of inverse i: |g_i(f_i(h_(i-1) + e)) - (h_(i-1) + e)|^2, with noise e

    Each loss is a mean over the samples. Only the first target, target_N, uses the readout's
    transposed weights, as in the paper.

    Args:
        layout: the network's shapes.
        step: gradient step from the last block's activity to its target.
        noise: standard deviation of e.

    Raises:
        SigpropError: if a block's output is not `[B, features]`, `step` is not positive, or
            `noise` is negative.
    """

    row_only: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(
        backward_pass=True,
        symmetric_weights=True,
        feedback_weights=True,
        stored_activations="layers",
    )

    def __init__(self, layout: Layout, *, step: float = 0.5, noise: float = 0.1) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        for shape in layout.outputs:
            if len(shape) != 1:
                raise SigpropError(
                    f"{_NAME} works only with fully connected blocks; expected outputs of "
                    f"one axis, found {list(shape)}"
                )
        self.step = positive(f"step of {_NAME}", step)
        self.noise = not_negative(f"noise of {_NAME}", noise)
        sizes = [shape[0] for shape in layout.outputs]
        self.inverses = nn.ModuleList(nn.Linear(above, below) for below, above in pairwise(sizes))

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return each inverse's parameters, by the name of the block that it inverts."""
        return {f"block{i + 2}": list(g.parameters()) for i, g in enumerate(self.inverses)}

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch forward and the targets back."""
        readout = readout_of(network, _NAME)
        check_blocks(network, len(self.inverses) + 1, _NAME)
        for name, block in network.named_blocks():
            _check_neuron(name, block)
        blocks = [block for _, block in network.named_blocks()]
        sent = [layer.sent for layer in layer_graphs(network, inputs)]
        activity = [output.detach() for output in sent]

        last = activity[-1].clone().requires_grad_()
        scores = readout(last)
        loss = readout.loss(scores, labels)
        learn_from(loss)
        assert last.grad is not None
        rows = len(labels)
        target = activity[-1] - self.step * rows * last.grad  # the loss is a mean over the rows
        updated(update, "readout", readout)
        for index in reversed(range(len(blocks))):
            learn_from_error(sent[index], 2 * (activity[index] - target) / rows)
            learning: list[nn.Module] = [blocks[index]]
            if index > 0:
                inverse = self.inverses[index - 1]
                learning.append(inverse)
                target = self._target_below(blocks, index, activity, target)
                learn_from(self._inverse_loss(blocks, index, activity[index - 1]))
            updated(update, f"block{index + 1}", *learning)
        return reported(network, scores, loss, labels)

    @torch.no_grad()
    def _target_below(
        self, blocks: list[Block], index: int, activity: list[Tensor], target: Tensor
    ) -> Tensor:
        back = self._back(blocks, index, target) - self._back(blocks, index, activity[index])
        return activity[index - 1] + back

    def _back(self, blocks: list[Block], index: int, activity: Tensor) -> Tensor:
        """Return g_i of an activity: the inverse's prediction of the activity below it."""
        return blocks[index - 1].neuron.fire(self.inverses[index - 1](activity))

    def _inverse_loss(self, blocks: list[Block], index: int, below: Tensor) -> Tensor:
        with torch.no_grad():
            disturbed = below + self.noise * torch.randn_like(below)
            block = blocks[index]
            above = block.neuron.fire(stepwise(block.static_current, disturbed))
        gap = self._back(blocks, index, above) - disturbed
        return gap.square().sum() / below.shape[1]


def _check_neuron(name: str, block: Block) -> None:
    if not (isinstance(block.neuron, Rate) and block.neuron.beta == 0.0):
        raise SigpropError(
            f"{_NAME} is defined only for rate networks with independent steps, but {name} "
            f"has {type(block.neuron).__name__}; expected Rate with beta 0"
        )
