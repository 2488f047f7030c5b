"""The pictures of a run: one sample in the network, and the learning curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sigprop_snn import plots
from sigprop_snn.arguments import one_of
from sigprop_snn.arguments import path as as_path
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.plots.saving import DPI, FORMATS
from sigprop_snn.plots.style import headless, plain
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
        blocks = [name for name, _ in network.named_blocks()]
        layers = [*blocks, *["readout"] * (network.readout is not None)]
        recorded = network.record(inputs, ("spike", "voltage"), layers)
    first = {
        layer: {name: values[:, 0].cpu() for name, values in kept.items()}
        for layer, kept in recorded.items()
    }
    return Observed(
        sample,
        {name: first[name]["spike"] for name in blocks},
        {name: first[name]["voltage"] for name in blocks},
        first["readout"]["voltage"] if "readout" in first else None,
    )


def draw_run(
    trained: Trained,
    sample: int = 0,
    *,
    layer: str | None = None,
    out: str | os.PathLike[str] | None = None,
    form: str = "png",
    dpi: float = DPI,
) -> list[Path]:
    """Draw the pictures of a run into files.

    The name of a picture names the sample and the layer that are not the first, such as
    `voltage-block2-sample5.png`.

    Args:
        trained: the run.
        sample: the index of the test sample for raster and voltages.
        layer: the block whose voltages are drawn; None takes the first.
        out: the folder of the files; None takes `figures` in the run folder.
        form: "png", "svg" or "pdf".
        dpi: dots per inch.

    Returns:
        The files written: raster, voltages (if there is more than one step), curves.

    Raises:
        SigpropError: if the run has finished no epoch, the index is out of range, no block has this
            name, or a file can't be written.
    """
    if not trained.history:
        raise SigpropError(
            f"the run in {str(trained.folder.path)!r} has finished no epoch; expected at least one"
        )
    one_of("format", form, FORMATS)
    names = [name for name, _ in trained.network.named_blocks()]
    if layer is not None:
        one_of("layer", layer, names)
    folder = trained.folder.figures if out is None else as_path("out", out)
    shown = "" if sample == 0 else f"-sample{sample}"
    of_layer = "" if layer in (None, names[0]) else f"-{layer}"
    # A noisy neuron gives the same picture again.
    with headless(), randomness.seeded(trained.config.seed):
        pictures = {
            Path(RASTER).stem + shown: _draw_raster(trained, sample),
            Path(VOLTAGE).stem + of_layer + shown: _draw_voltages(trained, sample, layer),
            Path(CURVES).stem: plots.learning_curves(
                trained.history, title=f"{_title(trained)}: learning curves"
            ),
        }
    return [
        plots.save(picture, folder / f"{name}.{form}", dpi=dpi)
        for name, picture in pictures.items()
        if picture is not None
    ]


def _title(trained: Trained) -> str:
    """Return data set, network and rule."""
    config = trained.config
    return f"{plain(config.dataset)}, {config.network}, {config.rule} rule"


def _draw_raster(trained: Trained, sample: int) -> list[Axes]:
    inputs, label = _test_sample(trained, sample)
    observed = observe(trained.network, inputs)
    classes = trained.data.classes
    with torch.no_grad():
        scores = trained.network(inputs.unsqueeze(1).to(next(trained.network.parameters()).device))
    return plots.network_raster(
        observed.layers(),
        classes=classes,
        label=label,
        winner=int(scores[0].argmax()),
        title=f"{_title(trained)}: test sample {sample:,}, class {plain(classes[label])}",
    )


def _draw_voltages(trained: Trained, sample: int, layer: str | None) -> list[Axes] | None:
    """Draw the voltages of a block, unless there is one step only."""
    inputs, label = _test_sample(trained, sample)
    observed = observe(trained.network, inputs)
    if len(inputs) == 1:
        return None
    where = f"test sample {sample:,}, class {plain(trained.data.classes[label])}"
    return draw_voltages(trained.network, observed, layer=layer, remark=where)


def draw_voltages(
    network: Network,
    observed: Observed,
    *,
    layer: str | None = None,
    neurons: int = 5,
    remark: str = "",
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw the membrane voltages of a few neurons of a block.

    Args:
        network: the network that was observed.
        observed: every step of one sample.
        layer: the name of the block; None takes the first.
        neurons: the number of neurons.
        remark: what the sample is, for the title.
        ax: an Axes to replace by the lanes; None makes a figure.

    Returns:
        The lanes from the top.
    """
    name = next(iter(observed.voltages)) if layer is None else layer
    one_of("layer", name, observed.voltages)
    voltage = observed.voltages[name]
    block = dict(network.named_blocks())[name]
    threshold = block.neuron.threshold
    count = min(neurons, voltage[0].numel())
    title = f"membrane voltage of {count} neurons of {name}, before the reset"
    if isinstance(threshold, Tensor) and threshold.numel() > 1:
        # Neurons with different thresholds share a line only after the threshold is subtracted.
        voltage, threshold = voltage - threshold.detach().cpu(), 0.0
        title += ", minus the threshold"
    if remark:
        title += f"\n{remark}"
    return plots.voltage_traces(
        voltage,
        None if block.neuron.graded else observed.spikes[name],
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
