"""What the baselines share: passes with a gradient, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.closed_form import Filtered, Unrolled
from sigprop_snn.layers.contracts import LayerReport, Learned, Response, Update
from sigprop_snn.layers.layer_pass import Layer, layer_pass, observed_rows
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork
from sigprop_snn.layers.scoring import hits
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.engines import DenseSpikes
from sigprop_snn.neurons.engines.reference import check_finite
from sigprop_snn.neurons.stepwise import stepwise


class Fixed(nn.Module):
    """Weights that stay as they were drawn; they move, save and load with the network.

    Args:
        weight: the weights.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)


def full_graph(
    network: LearningNetwork,
    inputs: Tensor,
    synapses: Callable[[str, Block], Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """Return what the last block sends on, `[T, B, ...]`, with the graph of all blocks and steps.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        synapses: gives for each block a function that replaces its synapse; see `Block.current`.
    """

    def respond(name: str, block: Block, inputs: Tensor) -> tuple[Response, Tensor]:
        synapse = None if synapses is None else synapses(name, block)
        rows = observed_rows(block, inputs)
        ran = run(block.neuron, block.current(inputs, observed_rows=rows, synapse=synapse))
        return Response(ran), stepwise(block.pool, ran.spike)

    for layer in layer_pass(
        network.named_blocks(), network.signal, _front(network, inputs), respond
    ):
        sent = layer.sent
    return sent


def layer_graphs(
    network: LearningNetwork, inputs: Tensor, record: tuple[str, ...] = ()
) -> Iterator[Layer[Tensor]]:
    """Pass samples through; the output of a block has a gradient for that block's weights alone.

    It has the surrogate's derivative at the voltage of every step, and from there the neuron's
    filter into the currents: no error passes from one spike to another.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        record: what the runs keep of every step.
    """

    def respond(name: str, block: Block, inputs: Tensor) -> tuple[Response, Tensor]:
        path = Filtered(block) if block.neuron.closed_form else Unrolled(block)
        spikes = DenseSpikes(inputs.detach())
        ran, voltage = path.voltages(spikes, None, observed_rows(block, inputs), record)
        return Response(ran), stepwise(block.pool, fired(block.neuron, voltage, ran.spike))

    return layer_pass(network.named_blocks(), network.signal, _front(network, inputs), respond)


def _front(network: LearningNetwork, inputs: Tensor) -> Tensor:
    """Return the samples as they enter the first block, checked to be finite."""
    inputs = network.signal.plain(inputs)
    check_finite(inputs)
    return inputs


def fired(neuron: Neuron, voltage: Tensor, spike: Tensor) -> Tensor:
    """Return the given spikes, with the surrogate's derivative at the voltage as gradient."""
    above = neuron.above(voltage)
    smooth = neuron.surrogate.f(above) if neuron.graded else neuron.surrogate.spike(above)
    return spike.detach() + (smooth - smooth.detach()).to(spike.dtype)


def readout_of(network: LearningNetwork, rule: str) -> Readout:
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


def one_hot_targets(labels: Tensor, classes: int, like: Tensor) -> Tensor:
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


def update_all(update: Update | None, network: LearningNetwork) -> None:
    """Tell that the gradient of every layer is ready, in order."""
    for name, layer in network.named_layers():
        updated(update, name, layer)


def reported(network: LearningNetwork, scores: Tensor, loss: Tensor, labels: Tensor) -> Learned:
    """Return the report of a pass in which the readout alone guessed."""
    right = hits(scores, labels)
    layers = [
        LayerReport(name, None, None) for name, _ in network.named_layers() if name != "readout"
    ]
    layers.append(LayerReport("readout", float(loss.detach()), right))
    return Learned(layers, network.predicted({"readout": scores.detach()}), right)


def check_blocks(network: LearningNetwork, expected: int, rule: str) -> None:
    """Check that a rule made for some number of blocks is in a network that has them.

    Raises:
        SigpropError: if there are more or fewer.
    """
    if len(network.blocks) != expected:
        raise SigpropError(
            f"{rule} was made for {expected} blocks; the network has {len(network.blocks)}"
        )
