"""Shared functions of the baselines: passes with a gradient, and reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import LayerReport, Learned, Response, Update
from sigprop_snn.layers.gradient_paths import Filtered, Unrolled
from sigprop_snn.layers.layer_pass import Layer, layer_pass, observed_rows, section_pass
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork
from sigprop_snn.layers.scoring import hits
from sigprop_snn.layers.section import Section
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.engines import DenseSpikes, Spikes
from sigprop_snn.neurons.engines.reference import check_finite
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.predict import BY_LAST_BLOCK
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import Entry


class Fixed(nn.Module):
    """Weights that don't learn; they move, save and load with the network.

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
    """Return the last block's output, `[T, B, ...]`, with the graph of all blocks and steps.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        synapses: returns a function that replaces a block's synapse; see `Block.current`.
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
    network: LearningNetwork,
    inputs: Tensor,
    record: tuple[str, ...] = (),
    section: Section[Spikes] | None = None,
) -> Iterator[Layer[Tensor]]:
    """Pass samples through; a block's output has a gradient only for that block's weights.

    The gradient is the surrogate's derivative at the voltage of every step, then the neuron's
    filter of the currents: no error passes from one spike to another.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        record: names of the values to record at every step.
        section: the blocks to pass through, which have their input; all if not given.
    """

    def respond(name: str, block: Block, inputs: Tensor) -> tuple[Response, Tensor]:
        path = Filtered(block) if block.neuron.closed_form else Unrolled(block)
        spikes = DenseSpikes(inputs.detach())
        ran, voltage = path.voltages(spikes, None, observed_rows(block, inputs), record)
        return Response(ran), stepwise(block.pool, fired(block.neuron, voltage, ran.spike))

    blocks = list(network.named_blocks())
    if section is None:
        yield from layer_pass(blocks, network.signal, _front(network, inputs), respond)
        return
    sent = {name: spikes.dense() for name, spikes in section.kept.waiting.items()}
    kept = Kept(sources_by_name(blocks), sent)
    for layer in section_pass(section.of(blocks), network.signal, kept, respond):
        section.kept.put(layer.name, DenseSpikes(layer.sent.detach()))
        yield layer
        del layer  # free its graph before the next layer runs


def entry_without_contexts(network: LearningNetwork, inputs: Tensor, labels: Tensor) -> Entry:
    """Return what enters the first block in a pass by sections, under a rule without contexts."""
    plain, rows = network.signal.plain(inputs), inputs.shape[1]
    return Entry(plain, None, rows, observed_rows=rows, targets=labels, answers=labels)


def _front(network: LearningNetwork, inputs: Tensor) -> Tensor:
    """Return the first block's input, after a check that it is finite."""
    inputs = network.signal.plain(inputs)
    check_finite(inputs)
    return inputs


def fired(neuron: Neuron, voltage: Tensor, spike: Tensor) -> Tensor:
    """Return the spikes, with the surrogate's derivative at the voltage as gradient."""
    above = neuron.above(voltage)
    smooth = neuron.surrogate.f(above) if neuron.graded else neuron.surrogate.spike(above)
    return spike.detach() + (smooth - smooth.detach()).to(spike.dtype)


def readout_of(network: LearningNetwork, rule: str) -> Readout:
    """Return the network's readout, for a rule that sends its error to the blocks.

    Raises:
        SigpropError: if the network has no readout, or predicts by contexts.
    """
    if network.readout is None or network.predict in BY_LAST_BLOCK:
        raise SigpropError(
            f"{rule} learns from the readout's error, but the network "
            + ("has no readout" if network.readout is None else f"predicts by {network.predict!r}")
            + "; expected a network that predicts by its readout"
        )
    return network.readout


def output_error(readout: Readout, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the derivative of the readout's loss with respect to the scores, in their shape."""
    with torch.enable_grad():
        free = scores.detach().requires_grad_()
        (error,) = torch.autograd.grad(readout.loss(free, labels), free)
    return error


def step_losses(readout: Readout, voltages: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the steps of the readout's loss for voltages `[T, B, C]`."""
    return readout.loss(voltages.flatten(0, 1), every_step(labels, voltages.shape[0]))


def every_step(labels: Tensor, steps: int) -> Tensor:
    """Return the labels repeated for every step, `[T * B]`."""
    return labels.repeat(steps, *[1] * (labels.dim() - 1))


def one_hot_targets(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Return the targets `[B, C]`: class labels as one-hot rows, float labels unchanged."""
    return (labels if labels.is_floating_point() else F.one_hot(labels, classes)).to(like)


def feedback_weights(layout: Layout) -> nn.ModuleList:
    """Return fixed random weights from the classes to each block's output."""
    return nn.ModuleList(
        Fixed(torch.randn(layout.classes, math.prod(shape)) / math.sqrt(layout.classes))
        for shape in layout.outputs
    )


def loop_weights(layout: Layout, *, learned: bool) -> nn.Parameter:
    """Return weights from the classes to the first block's current, `[C, K]`.

    Weights that learn start at zero; others are random and keep their values.
    """
    shape = (layout.classes, math.prod(layout.currents[0]))
    drawn = torch.zeros(shape) if learned else torch.randn(shape) / math.sqrt(shape[0])
    return nn.Parameter(drawn, requires_grad=learned)


def learn_from(loss: Tensor) -> None:
    """Backpropagate a loss, if any parameter in its graph learns."""
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]


def learn_from_error(output: Tensor, error: Tensor) -> None:
    """Backpropagate the error of an output, if any parameter in its graph learns."""
    if output.requires_grad:
        output.backward(error)  # type: ignore[no-untyped-call]


def updated(update: Update | None, name: str, *parts: nn.Module) -> None:
    """Report that a layer's gradient is ready, if any of its parts learns."""
    if update is not None and any(p.requires_grad for part in parts for p in part.parameters()):
        update(name)


def update_all(update: Update | None, network: LearningNetwork) -> None:
    """Report for every layer, in order, that its gradient is ready."""
    for name, layer in network.named_layers():
        updated(update, name, layer)


def reported(network: LearningNetwork, scores: Tensor, loss: Tensor, labels: Tensor) -> Learned:
    """Return the report of a pass in which only the readout predicted."""
    right = hits(scores, labels)
    layers = [
        LayerReport(name, None, None) for name, _ in network.named_layers() if name != "readout"
    ]
    layers.append(LayerReport("readout", loss.detach(), right))
    return Learned(layers, network.predicted({"readout": scores.detach()}), right)


def check_blocks(network: LearningNetwork, expected: int, rule: str) -> None:
    """Check that a network has the number of blocks for which the rule was made.

    Raises:
        SigpropError: if the network has more or fewer blocks.
    """
    if len(network.blocks) != expected:
        raise SigpropError(
            f"{rule} was made for {expected} blocks; the network has {len(network.blocks)}"
        )
