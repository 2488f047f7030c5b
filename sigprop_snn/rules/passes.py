"""What the baselines share: a block's pass with a gradient in it, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network.block import Block
from sigprop_snn.network.drive import seen_voltage, unrolled
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Update, check_front, misfit
from sigprop_snn.network.signal import Signal
from sigprop_snn.network.stage import LayerReport, Learned, hits
from sigprop_snn.network.synapse import stepwise
from sigprop_snn.neurons import Neuron, Run, run

if TYPE_CHECKING:
    from sigprop_snn.network.network import Network


class Fixed(nn.Module):
    """Weights that stay as they were drawn; they move, save and load with the network.

    Args:
        weight: the weights.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)


def through(
    block: Block,
    inputs: Tensor,
    front: Signal | None = None,
    synapse: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Run, Tensor]:
    """Run a block with the whole graph: through its synapse, through time, through its spikes.

    Args:
        block: the layer.
        inputs: what it receives, `[T, B, ...]`.
        front: the network's signal if the block is the first.
        synapse: what stands in for the block's synapse; see `Block.current`.

    Returns:
        The run, and what the block sends on, `[T, B, ...]`, with its gradient.
    """
    with fitting(inputs, front):
        current = block.current(inputs, observed_rows=observed_rows(block, inputs), synapse=synapse)
        ran = run(block.neuron, current)
    if front is not None:
        check_front(inputs, ran, front)
    return ran, stepwise(block.pool, ran.spike)


class Passed(NamedTuple):
    """What went into a block, and what the block did, without a gradient.

    Attributes:
        block: the layer.
        inputs: what it received, `[T, B, ...]`.
        run: what its neuron did.
        sent: what the block sends on, `[T, B, ...]`.
    """

    block: Block
    inputs: Tensor
    run: Run
    sent: Tensor


def forward(network: Network, inputs: Tensor, record: tuple[str, ...] = ()) -> Iterator[Passed]:
    """Yield every block's part in a learning pass without a gradient, normalisers observing."""
    for index, block in enumerate(network.each_block()):
        front = network.signal if index == 0 else None
        with torch.no_grad(), fitting(inputs, front):
            current = block.current(inputs, observed_rows=observed_rows(block, inputs))
            ran = run(block.neuron, current, record=record)
        if front is not None:
            check_front(inputs, ran, front)
        passed = Passed(block, inputs, ran, block.pooled(ran.spike))
        inputs = passed.sent
        yield passed


def alone(
    block: Block, inputs: Tensor, front: Signal | None = None, record: tuple[str, ...] = ()
) -> tuple[Run, Tensor]:
    """Run a block with a gradient that reaches its own weights and nothing else.

    What it sends on has the surrogate's derivative at the voltage of every step, and from there
    the neuron's filter into the currents: no error passes from one spike to another.

    Args:
        block: the layer.
        inputs: what it receives, `[T, B, ...]`.
        front: the network's signal if the block is the first.
        record: what the run keeps of every step.

    Returns:
        The run without a gradient, and what the block sends on, `[T, B, ...]`, with it.
    """
    neuron = block.neuron
    with fitting(inputs, front):
        current = block.current(inputs.detach(), observed_rows=observed_rows(block, inputs))
        if neuron.closed_form:
            with torch.no_grad():
                ran = run(neuron, current, record=("voltage", *record))
            voltage = seen_voltage(neuron, current, ran)
        else:
            ran, voltage = unrolled(neuron, current, record)
    if front is not None:
        check_front(inputs, ran, front)
    return ran, stepwise(block.pool, fired(neuron, voltage, ran.spike))


def fired(neuron: Neuron, voltage: Tensor, spike: Tensor) -> Tensor:
    """Return the spikes that fell, with the surrogate's derivative at the voltage as gradient."""
    above = neuron.above(voltage)
    smooth = neuron.surrogate.f(above) if neuron.graded else neuron.surrogate.spike(above)
    return spike.detach() + (smooth - smooth.detach()).to(spike.dtype)


def observed_rows(block: Block, inputs: Tensor) -> int:
    """Return how many rows of a learning pass the block's normaliser takes into its figures."""
    return inputs.shape[1] if block.training else 0


def readout_of(network: Network, rule: str) -> Readout:
    """Return the network's readout, whose error the rule sends to the blocks.

    Raises:
        SigpropError: if there is none, or the network predicts by a context.
    """
    if network.readout is None or network.predict == "context":
        raise SigpropError(
            f"{rule} learns from the readout's error, but the network "
            + ("has no readout" if network.readout is None else "predicts by 'context'")
            + "; expected a network that predicts by its readout"
        )
    return network.readout


def output_error(readout: Readout, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the derivative of the readout's loss with respect to its scores, in their shape."""
    with torch.enable_grad():
        free = scores.detach().requires_grad_()
        (error,) = torch.autograd.grad(readout.loss(free, labels), free)
    return error


def step_losses(readout: Readout, voltages: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the steps of the readout's loss at every step, `[T, B, C]`."""
    return readout.loss(voltages.flatten(0, 1), every_step(labels, voltages.shape[0]))


def every_step(labels: Tensor, steps: int) -> Tensor:
    """Return the labels of `[T * B]` rows, the steps laid along the batch."""
    return labels.repeat(steps, *[1] * (labels.dim() - 1))


def shares(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Return what of each class is right, `[B, C]`: one-hot for labels that are columns."""
    return (labels if labels.is_floating_point() else F.one_hot(labels, classes)).to(like)


def learn_from(loss: Tensor) -> None:
    """Let a loss leave its gradients, if anything behind it learns."""
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]


def learn_from_error(output: Tensor, error: Tensor) -> None:
    """Let an output leave its gradients for the error that it is given, if it learns."""
    if output.requires_grad:
        output.backward(error)  # type: ignore[no-untyped-call]


def updated(update: Update | None, name: str, *parts: nn.Module) -> None:
    """Tell that a layer's gradient is ready, if any of its parts learns."""
    if update is not None and any(p.requires_grad for part in parts for p in part.parameters()):
        update(name)


def update_all(update: Update | None, network: Network) -> None:
    """Tell that the gradient of every layer is ready, in order."""
    for name, layer in _layers(network):
        updated(update, name, layer)


def reported(network: Network, scores: Tensor, loss: Tensor, labels: Tensor) -> Learned:
    """Return the report of a pass in which the readout alone guessed."""
    right = hits(scores, labels)
    layers = [LayerReport(name, None, None) for name, _ in _layers(network) if name != "readout"]
    layers.append(LayerReport("readout", float(loss.detach()), right))
    return Learned(layers, network.predicted({"readout": scores.detach()}), right)


def check_blocks(network: Network, expected: int, rule: str) -> None:
    """Check that a rule made for some number of blocks is in a network that has them.

    Raises:
        SigpropError: if there are more or fewer.
    """
    if len(network.blocks) != expected:
        raise SigpropError(
            f"{rule} was made for {expected} blocks; the network has {len(network.blocks)}"
        )


def _layers(network: Network) -> Iterable[tuple[str, nn.Module]]:
    for index, block in enumerate(network.each_block()):
        yield f"block{index + 1}", block
    if network.readout is not None:
        yield "readout", network.readout


@contextmanager
def fitting(inputs: Tensor, front: Signal | None) -> Iterator[None]:
    """Say it plainly where an input does not fit the first block."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if front is None:
            raise
        raise misfit(inputs, error) from error
