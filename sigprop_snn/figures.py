"""The pictures of a run: what one sample does to the network, and how learning went."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from torch import Tensor

from sigprop_snn import plots
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Block, Network
from sigprop_snn.plots.style import plain
from sigprop_snn.training import Trained, randomness

RASTER, VOLTAGE, CURVES = "raster.png", "voltage.png", "curves.png"


class Observed(NamedTuple):
    """What one sample does to a network, step by step.

    Attributes:
        input: the sample, `[T, ...]`.
        spikes: each block's spikes, `[T, ...]`, by name.
        voltages: each block's membrane voltage before the reset, `[T, ...]`, by name.
        readout: the readout's membrane voltage, `[T, C]`, or None where there is no readout.
    """

    input: Tensor
    spikes: dict[str, Tensor]
    voltages: dict[str, Tensor]
    readout: Tensor | None


@torch.no_grad()
def observe(network: Network, sample: Tensor) -> Observed:
    """Pass one sample `[T, ...]` through a network and keep every step."""
    was_training = network.training
    network.eval()
    inputs = to_device(sample.unsqueeze(1), next(network.parameters()).device)
    kept = network.record(inputs, ("spike", "voltage"))
    spikes = {name: block["spike"] for name, block in kept.items()}
    readout = None
    if network.readout is not None:
        last = network.blocks[-1]
        assert isinstance(last, Block)
        ran = network.readout.trace(last.pooled(spikes[f"block{len(network.blocks)}"]))
        readout = ran.recorded["voltage"][:, 0].cpu()
    network.train(was_training)
    return Observed(
        sample,
        {name: block["spike"][:, 0].cpu() for name, block in kept.items()},
        {name: block["voltage"][:, 0].cpu() for name, block in kept.items()},
        readout,
    )


def draw_run(trained: Trained, sample: int = 0) -> list[Path]:
    """Draw a run's pictures into its folder.

    Args:
        trained: the run.
        sample: which test sample the raster and the voltages show.

    Returns:
        The files written: raster, voltages, curves.

    Raises:
        SigpropError: if the run has finished no epoch, or the sample is not there.
    """
    if not trained.history:
        raise SigpropError(
            f"the run in {str(trained.folder.path)!r} has finished no epoch; expected at least one"
        )
    with randomness.seeded(trained.config.seed):  # a noisy neuron draws the same picture again
        return _draw(trained, sample)


def _draw(trained: Trained, sample: int) -> list[Path]:
    inputs, labels = _test_sample(trained, sample)
    observed = observe(trained.network, inputs)
    classes = trained.data.classes
    layers = {"input": observed.input, **observed.spikes}
    if observed.readout is not None:
        layers["readout"] = observed.readout
    with torch.no_grad():
        scores = trained.network(inputs.unsqueeze(1).to(next(trained.network.parameters()).device))
    raster = plots.network_raster(
        layers,
        classes=classes,
        label=labels,
        winner=int(scores[0].argmax()),
        title=f"{trained.config.dataset}, one test sample of class {plain(classes[labels])}",
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
        observed: what one sample did to it.
        neurons: how many neurons.
        ax: an Axes whose place the lanes take; None makes a figure.

    Returns:
        The lanes from the top.
    """
    name, voltage = next(iter(observed.voltages.items()))
    block = network.blocks[0]
    assert isinstance(block, Block)
    threshold = block.neuron.threshold
    title = f"membrane voltage of {neurons} neurons of {name}"
    if isinstance(threshold, Tensor) and threshold.numel() > 1:
        # Each neuron has its own threshold: only the distance to it has one common line.
        voltage, threshold = voltage - threshold.detach().cpu(), 0.0
        title += ", above threshold"
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
