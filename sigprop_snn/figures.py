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
        scores: the network's scores of the sample, `[C]`, or None if no layer predicts.
    """

    input: Tensor
    spikes: dict[str, Tensor]
    voltages: dict[str, Tensor]
    readout: Tensor | None
    scores: Tensor | None = None

    def layers(self) -> dict[str, Tensor]:
        """Return input, spikes and readout by name, as `plots.network_raster` takes them."""
        end = {} if self.readout is None else {"readout": self.readout}
        return {"input": self.input, **self.spikes, **end}


@torch.no_grad()
def observe(network: Network, sample: Tensor) -> Observed:
    """Pass one sample `[T, ...]` through a network once, and return every step."""
    spikes: dict[str, Tensor] = {}
    voltages: dict[str, Tensor] = {}
    sent: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    with evaluation_mode(network):
        inputs = to_device(sample.unsqueeze(1), next(network.parameters()).device)
        for stage in network.stages(inputs, record=("spike", "voltage")):
            if stage.scores is not None:
                scores[stage.name] = stage.scores
            if stage.response is None:
                continue
            ran = stage.response.run  # the sample is its first row, before the contexts
            spikes[stage.name] = ran.recorded["spike"][:, 0].cpu()
            voltages[stage.name] = ran.recorded["voltage"][:, 0].cpu()
            pool = network.block(stage.name).pool
            sent[stage.name] = ran.spikes.rows(0, 1).pooled(pool).dense()
        readout = None
        if network.readout is not None:
            read = [sent[name] for name in network.readout.names(network.named_blocks())]
            readout = network.readout.trace(*read).recorded["voltage"][:, 0].cpu()
        predicted = network.predicted(scores)[0].cpu() if scores else None
    return Observed(sample, spikes, voltages, readout, predicted)


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
        inputs, label = _test_sample(trained, sample)
        # All pictures show one run: a noisy network does not repeat it.
        observed = observe(trained.network, inputs)
        where = f"test sample {sample:,}, class {plain(trained.data.classes[label])}"
        pictures = {
            Path(RASTER).stem + shown: _draw_raster(trained, observed, label, where),
            Path(VOLTAGE).stem + of_layer + shown: _draw_voltages(trained, observed, layer, where),
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


def _draw_raster(trained: Trained, observed: Observed, label: int, where: str) -> list[Axes]:
    return plots.network_raster(
        observed.layers(),
        classes=trained.data.classes,
        label=label,
        winner=None if observed.scores is None else int(observed.scores.argmax()),
        title=f"{_title(trained)}: {where}",
    )


def _draw_voltages(
    trained: Trained, observed: Observed, layer: str | None, where: str
) -> list[Axes] | None:
    """Draw the voltages of a block, unless there is one step only."""
    if len(observed.input) == 1:
        return None
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
