"""The pictures of a run: one sample in the network, and the learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sigprop_snn import plots
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Block, Network
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.plots.style import plain
from sigprop_snn.training import Trained, randomness

if TYPE_CHECKING:  # `sigprop_snn.plots` imports matplotlib first
    from matplotlib.axes import Axes

RASTER, VOLTAGE, CURVES = "raster.png", "voltage.png", "curves.png"


class Observed(NamedTuple):
    """Every step of one sample in a network.

    Attributes:
        input: the sample, `[T, ...]`.
        spikes: the spikes of each block, `[T, ...]`, by name.
        voltages: the membrane voltage of each block before the reset, `[T, ...]`, by name.
        readout: the membrane voltage of the readout, `[T, C]`, or None if there is no readout.
    """

    input: Tensor
    spikes: dict[str, Tensor]
    voltages: dict[str, Tensor]
    readout: Tensor | None

    def layers(self) -> dict[str, Tensor]:
        """Return input, spikes and readout by name, as `plots.network_raster` takes them."""
        end = {} if self.readout is None else {"readout": self.readout}
        return {"input": self.input, **self.spikes, **end}


@torch.no_grad()
def observe(network: Network, sample: Tensor) -> Observed:
    """Pass one sample `[T, ...]` through a network and return every step."""
    with evaluation_mode(network):
        inputs = to_device(sample.unsqueeze(1), next(network.parameters()).device)
        recorded = network.record(inputs, ("spike", "voltage"))
        readout = None
        if network.readout is not None:
            blocks = dict(network.named_blocks())
            sent = (
                stepwise(blocks[name].pool, recorded[name]["spike"])
                for name in network.readout.names(blocks.items())
            )
            run = network.readout.trace(*sent)
            readout = run.recorded["voltage"][:, 0].cpu()
    return Observed(
        sample,
        {name: values["spike"][:, 0].cpu() for name, values in recorded.items()},
        {name: values["voltage"][:, 0].cpu() for name, values in recorded.items()},
        readout,
    )


def draw_run(trained: Trained, sample: int = 0) -> list[Path]:
    """Draw the pictures of a run into its folder.

    Args:
        trained: the run.
        sample: the index of the test sample for raster and voltages.

    Returns:
        The files written: raster, voltages, curves.

    Raises:
        SigpropError: if the run has finished no epoch, or the index is out of range.
    """
    if not trained.history:
        raise SigpropError(
            f"the run in {str(trained.folder.path)!r} has finished no epoch; expected at least one"
        )
    with randomness.seeded(trained.config.seed):  # a noisy neuron gives the same picture again
        return _draw(trained, sample)


def _draw(trained: Trained, sample: int) -> list[Path]:
    inputs, label = _test_sample(trained, sample)
    observed = observe(trained.network, inputs)
    classes = trained.data.classes
    with torch.no_grad():
        scores = trained.network(inputs.unsqueeze(1).to(next(trained.network.parameters()).device))
    raster = plots.network_raster(
        observed.layers(),
        classes=classes,
        label=label,
        winner=int(scores[0].argmax()),
        title=f"{trained.config.dataset}, one test sample of class {plain(classes[label])}",
    )
    traces = draw_voltages(trained.network, observed)
    curves = plots.learning_curves(trained.history, title=f"{trained.config.rule} rule")
    figures = trained.folder.figures
    return [
        plots.save(raster, figures / RASTER),
        plots.save(traces, figures / VOLTAGE),
        plots.save(curves, figures / CURVES),
    ]


def draw_voltages(
    network: Network, observed: Observed, *, neurons: int = 5, ax: Axes | None = None
) -> list[Axes]:
    """Draw the membrane voltages of a few neurons of the first block.

    Args:
        network: the network that was observed.
        observed: every step of one sample.
        neurons: the number of neurons.
        ax: an Axes to replace by the lanes; None makes a figure.

    Returns:
        The lanes from the top.
    """
    name, voltage = next(iter(observed.voltages.items()))
    block = network.blocks[0]
    assert isinstance(block, Block)
    threshold = block.neuron.threshold
    title = f"membrane voltage of {min(neurons, voltage[0].numel())} neurons of {name}"
    if isinstance(threshold, Tensor) and threshold.numel() > 1:
        # Neurons with different thresholds share a line only after the threshold is subtracted.
        voltage, threshold = voltage - threshold.detach().cpu(), 0.0
        title += ", minus the threshold"
    return plots.voltage_traces(
        voltage.flatten(1),
        None if block.neuron.graded else observed.spikes[name].flatten(1),
        threshold=float(threshold),
        neurons=neurons,
        title=title,
        ax=ax,
    )


def _test_sample(trained: Trained, index: int) -> tuple[Tensor, int]:
    samples = trained.data.test.samples
    if not 0 <= index < samples:
        raise SigpropError(f"sample is {index}; expected 0 to {samples - 1}, of the test samples")
    for inputs, labels in trained.data.test:
        if index < len(labels):
            return inputs[:, index], int(labels[index])
        index -= len(labels)
    raise IndexError(index)
