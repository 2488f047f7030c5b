"""Draw the gallery: every public picture of `sigprop_snn.plots`, on networks trained here.

    python docs/gallery.py

It trains a few small networks on the embedded digits, which takes a minute or two. It writes the
pictures into `docs/gallery/`, and the page `docs/gallery.md`.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from sigprop_snn import plots
from sigprop_snn.analysis import separability, stream_alignment, update_angles
from sigprop_snn.data import Data, digit_events, load
from sigprop_snn.figures import Observed, draw_voltages, observe
from sigprop_snn.monitors import voltage_histograms
from sigprop_snn.network import Network, Rule, SurrogateRule, VoltageRule, conv, mlp
from sigprop_snn.neurons import ALIF, IF, LIF, CurrentLIF, Neuron, Refractory, run
from sigprop_snn.plots.saving import figure_of_picture
from sigprop_snn.report.measure import confusion_of
from sigprop_snn.surrogates import Arctan, FastSigmoid, Gaussian, Sigmoid, Triangle
from sigprop_snn.training import LocalOptimizers, evaluate

if TYPE_CHECKING:  # `sigprop_snn.plots` imports matplotlib first
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
DPI = 130

# The code of each picture, for a trained `network` and its `data`.
CODE = {
    "network_raster": (
        "seen = observe(network, x[:, 0])\n"
        "plots.network_raster(seen.layers(), label=int(labels[0]))"
    ),
    "raster": 'plots.raster(network.record(x, "spike")["block2"]["spike"][:, 0])',
    "voltage_traces": 'draw_voltages(network, observe(network, x[:, 0]), layer="block1")',
    "voltage_histogram": (
        "found = voltage_histograms(network, data.test)\n"
        "plots.voltage_histogram({n: (bins.edges, bins.counts) for n, bins in found.items()})"
    ),
    "learning_curves": "plots.learning_curves(trained.history)",
    "confusion": "plots.confusion(counts, data.classes)  # counts [true, predicted]",
    "similarity": "plots.similarity(matrix, classes=data.classes)  # [C, C]",
    "rule_spectrum": "plots.rule_spectrum([asdict(row) for row in compared.rows])",
    "update_angles": 'plots.update_angles(samples, {"block1": degrees})',
    "stream_alignment": "plots.stream_alignment(samples, same, other)",
    "separability": 'plots.separability(samples, {"block1": accuracies})',
    "weights": "plots.weights_as_pictures(weights.view(-1, 1, 8, 8))",
    "contexts": "plots.weights_as_pictures((network.signal() @ weights).view(-1, 1, 8, 8))",
    "rate_maps": "plots.rate_maps(spikes)  # [T, C, H, W] of one sample",
    "event_frames": "plots.event_frames(x[:, 0])  # [T, 2, H, W]",
    "event_cloud": 'plots.event_cloud(read_events("recording.aedat4"))',
    "neuron_comparison": 'plots.neuron_comparison({"LIF": (voltage, spikes)}, current)',
    "surrogate_comparison": 'plots.surrogate_comparison({"arctan": (s.f(u), s.df(u))}, u)',
    "animate_layers": 'plots.animate_layers(observe(network, x[:, 0]).layers(), "layers.gif")',
}


@dataclass(frozen=True)
class Study:
    """A trained network with its learning curves, and every step of one test sample."""

    network: Network
    data: Data
    history: list[dict[str, Any]]
    before: Tensor
    after: Tensor
    observed: Observed
    label: int


def study(data: Data, network: Network, epochs: int) -> Study:
    """Train a network, and measure it before and after."""
    before = similarity_of(network, data)
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=2e-3))
    history: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        samples, right, losses = 0, 0, dict[str, float]()
        for inputs, labels in data.train:
            learned = network.learn(inputs, labels, optimizers.step)
            samples, right = samples + len(labels), right + learned.correct
            for layer in learned.layers:
                if layer.loss is not None:
                    losses[layer.name] = losses.get(layer.name, 0.0) + layer.loss * len(labels)
        tested = evaluate(network, data.test)
        layers = [asdict(layer) | {"loss": losses[layer.name] / samples} for layer in tested.layers]
        history.append(
            {
                "epoch": epoch,
                "train_accuracy": right / samples,
                "test_accuracy": tested.accuracy,
                "seconds": time.perf_counter() - started,
                "layers": layers,
            }
        )
    network.eval()
    inputs, labels = next(iter(data.test))
    after = similarity_of(network, data)
    seen = observe(network, inputs[:, 0])
    return Study(network, data, history, before, after, seen, int(labels[0]))


@torch.no_grad()
def similarity_of(network: Network, data: Data) -> Tensor:
    """Return the similarity of the test samples of each class to each context, `[C, C]`."""
    inputs, labels = next(iter(data.test))
    *blocks, _ = network.eval().stages(inputs)
    network.train()
    scores = blocks[-1].scores
    assert scores is not None
    classes = len(data.classes)
    return torch.stack([scores[labels == label].mean(0) / 20 for label in range(classes)])


@torch.no_grad()
def from_small_weights(network: Network) -> Network:
    """Make the initial first weights small, so that the picture shows what they learned."""
    next(network.blocks[0].parameters()).mul_(0.1)
    return network


def rules(data: Data, epochs: int) -> list[dict[str, Any]]:
    """Return accuracy and time of two rules over two seeds."""
    rows = []
    made: dict[str, type[Rule]] = {"voltage": VoltageRule, "surrogate": SurrogateRule}
    for name, rule in made.items():
        found = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            network = mlp(data.shape, len(data.classes), hidden=(200, 200), rule=rule())
            found.append(study(data, network, epochs).history)
        accuracy = torch.tensor([history[-1]["test_accuracy"] for history in found])
        seconds = [record["seconds"] for history in found for record in history]
        rows.append(
            {
                "rule": name,
                "accuracy": float(accuracy.mean()),
                "accuracy_std": float(accuracy.std()),
                "seconds": sum(seconds) / len(seconds),
            }
        )
    return rows


@dataclass(frozen=True)
class Evidence:
    """Measures of every layer, with a value after every epoch."""

    seen: list[int]
    degrees: dict[str, list[float]]
    same: dict[str, list[float]]
    other: dict[str, list[float]]
    probed: dict[str, list[float]]


def evidence(data: Data, epochs: int) -> Evidence:
    """Train a network, and measure its layers after every epoch."""
    network = mlp(data.shape, len(data.classes), hidden=(200, 200))
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=2e-3))
    learned, tested = list(data.train), list(data.test)
    found = Evidence([], {}, {}, {}, {})
    for epoch in range(epochs + 1):
        found.seen.append(epoch * data.train.samples)
        for angle in update_angles(network, *learned[0]):
            found.degrees.setdefault(angle.name, []).append(angle.degrees)
        for aligned in stream_alignment(network, *tested[0]):
            found.same.setdefault(aligned.name, []).append(aligned.same)
            found.other.setdefault(aligned.name, []).append(aligned.other)
        for probe in separability(network, learned, tested):
            found.probed.setdefault(probe.name, []).append(probe.accuracy)
        for inputs, labels in data.train:
            network.learn(inputs, labels, optimizers.step)
    return found


def network_raster(of: Study) -> list[Axes]:
    """Draw how one sample passes through a network."""
    return plots.network_raster(of.observed.layers(), label=of.label, classes=of.data.classes)


def similarity(of: Study) -> Axes:
    """Draw the similarity of the two streams before and after learning, side by side."""
    left, right = plots.axes_row(2, size=(11.0, 4.4))
    plots.similarity(of.before, classes=of.data.classes, title="before learning", ax=left)
    return plots.similarity(of.after, classes=of.data.classes, title="after learning", ax=right)


def weights(of: Study) -> list[Axes]:
    """Draw the first layer's weights of the busiest neurons."""
    busiest = of.observed.spikes["block1"].sum(0).argsort(descending=True)[:32]
    pictures = first_weights(of)[busiest].view(-1, *of.data.shape)
    return plots.weights_as_pictures(pictures, title="weights of the 32 busiest neurons")


def contexts(of: Study) -> list[Axes]:
    """Draw the context of every class as an image, through the first layer's weights."""
    with torch.no_grad():
        pictures = of.network.signal() @ first_weights(of)
    return plots.weights_as_pictures(
        pictures.view(-1, *of.data.shape), columns=5, title="the contexts of classes 0 to 9"
    )


def first_weights(of: Study) -> Tensor:
    """Return the first layer's weights, `[neurons, values]`."""
    return next(of.network.blocks[0].parameters()).detach()


def voltages(of: Study) -> list[Axes]:
    """Draw the distribution of the membrane voltages."""
    found = voltage_histograms(of.network, of.data.test)
    return plots.voltage_histogram({n: (bins.edges, bins.counts) for n, bins in found.items()})


def neurons() -> list[Axes]:
    """Draw several neuron models under one current."""
    models: dict[str, Neuron] = {
        "IF": IF(),
        "LIF": LIF(beta=0.9),
        "LIF, refractory": Refractory(LIF(beta=0.9), steps=8),
        "CuBa": CurrentLIF(alpha=0.7, beta=0.7),
        "ALIF": ALIF(),
    }
    current = torch.zeros(120, 1, 1)
    current[15:105] = 0.2
    traces = {}
    for name, neuron in models.items():
        with torch.no_grad():
            ran = run(neuron, current, record=("voltage",))
        traces[name] = (ran.recorded["voltage"].flatten(), ran.spike.flatten())
    return plots.neuron_comparison(traces, current.flatten(), threshold=1.0, step_ms=1.0)


def surrogates() -> list[Axes]:
    """Draw several surrogates with their derivatives."""
    u = torch.linspace(-2, 2, 401)
    made = [FastSigmoid(), Sigmoid(), Arctan(), Triangle(), Gaussian()]
    return plots.surrogate_comparison({type(s).__name__: (s.f(u), s.df(u)) for s in made}, u)


def draw(folder: Path, epochs: int) -> list[tuple[str, str, str]]:
    """Draw every picture; return the function, the file and a description of each."""
    torch.manual_seed(0)
    still = load("digits", steps=8, batch_size=60)
    moving = load("digit-events", steps=12, batch_size=60)
    digits = study(still, from_small_weights(mlp(still.shape, 10, hidden=(200, 200))), 2 * epochs)
    events = study(moving, mlp(moving.shape, 10, hidden=(400, 400)), epochs)
    maps = study(moving, conv(moving.shape, 10, channels=(16, 32), predict="vote"), epochs)
    useful = evidence(still, epochs)
    frames = events.observed.input
    recording = digit_events("test")[0][0]
    confused = confusion_of(events.network, moving.test, 10).counts
    drawn: list[tuple[str, str, Callable[[], object], str]] = [
        ("network_raster", "network_raster", partial(network_raster, events),
         "How one sample passes through a network: events, spikes of two blocks, readout."),
        ("raster", "raster",
         partial(plots.raster, events.observed.spikes["block2"], title="block2, one sample"),
         "The spikes of one layer for one sample."),
        ("voltage_traces", "voltage_traces",
         partial(draw_voltages, events.network, events.observed),
         "The membrane voltage of a few neurons, with threshold and spikes."),
        ("voltage_histogram", "voltage_histogram", partial(voltages, events),
         "Distribution of the voltages of each layer; those above the threshold make spikes."),
        ("learning_curves", "learning_curves", partial(plots.learning_curves, events.history),
         "Accuracy and loss of each layer and of the network over the epochs."),
        ("confusion", "confusion", partial(plots.confusion, confused, moving.classes),
         "Which classes the network confuses."),
        ("similarity", "similarity", partial(similarity, digits),
         "Similarity of the samples of each class to each context, in the last block."),
        ("rule_spectrum", "rule_spectrum", partial(plots.rule_spectrum, rules(still, 2 * epochs)),
         "Learning rules side by side, over two seeds."),
        ("update_angles", "update_angles",
         partial(plots.update_angles, useful.seen, useful.degrees),
         "Angle between each layer's update and backpropagation's gradient during training."),
        ("stream_alignment", "stream_alignment",
         partial(plots.stream_alignment, useful.seen, useful.same, useful.other),
         "Cosine of samples with the context of their class, and with the other contexts."),
        ("separability", "separability",
         partial(plots.separability, useful.seen, useful.probed),
         "Accuracy of a linear probe on the spike counts of each layer during training."),
        ("weights_as_pictures", "weights", partial(weights, digits),
         "Weights of the first layer as images."),
        ("weights_as_pictures", "contexts", partial(contexts, digits),
         "The context of each class as an image: the contexts through the first layer's weights."),
        ("rate_maps", "rate_maps",
         partial(plots.rate_maps, maps.observed.spikes["block1"]),
         "Spike rate at every position of the feature maps of a convolutional layer."),
        ("event_frames", "event_frames", partial(plots.event_frames, frames, 6),
         "The frames of a recording of an event camera."),
        ("event_cloud", "event_cloud", partial(plots.event_cloud, recording),
         "The same recording as a cloud of events in space and time."),
        ("neuron_comparison", "neuron_comparison", neurons, "Neuron models under one current."),
        ("surrogate_comparison", "surrogate_comparison", surrogates,
         "Surrogates and their derivatives, which replace the derivative of the spike."),
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    drawn_files = []
    for function, name, make, words in drawn:
        drawn_files.append((function, write(make(), folder / f"{name}.png").name, words))
    layers = {"input": frames, **maps.observed.spikes}
    film = plots.animate_layers(layers, folder / "animate_layers.gif")
    words = "One sample passes through the layers of a convolutional network, step by step."
    return [*drawn_files, ("animate_layers", film.name, words)]


def write(picture: Any, path: Path) -> Path:
    """Write a picture as a small PNG."""
    full = io.BytesIO()
    figure_of_picture(picture).savefig(full, format="png", dpi=DPI, bbox_inches="tight")
    Image.open(full).convert("RGB").save(path, optimize=True)
    return path


def page(pictures: list[tuple[str, str, str]], folder: str) -> str:
    """Return the page with the pictures."""
    parts = [
        "# Gallery",
        "Every picture of `sigprop_snn.plots`, drawn by `python docs/gallery.py` on networks that "
        "it trains on the embedded digits. Each function takes arrays or tensors, time first, "
        "draws on the Axes that it gets as `ax=`, and returns the Axes drawn on; `animate_layers` "
        "writes a GIF. Without `ax`, in a notebook or after `import matplotlib.pyplot`, it draws "
        "where `plt.gca()` is empty or on a new figure of pyplot, so the notebook or `plt.show()` "
        "shows it; in other programs it needs no display. Of large inputs a part is drawn, and "
        "the picture says which. `plots.save(axes, path, dpi=150)` writes PNG, SVG or PDF, "
        "`plots.axes_row(3)` makes Axes for three pictures side by side, and "
        "`plots.layer_colours(names)` returns the colour of each layer.",
        "The code below a picture uses a trained `network`, its `data`, and a batch. Other names "
        "are arrays of yours; `docs/gallery.py` shows how each one is made.",
        "```py\nfrom dataclasses import asdict\n\nfrom sigprop_snn import plots\n"
        "from sigprop_snn.data import read_events\n"
        "from sigprop_snn.figures import draw_voltages, observe\n"
        "from sigprop_snn.monitors import voltage_histograms\n\n"
        "x, labels = next(iter(data.test))\n```",
    ]
    for function, file, words in pictures:
        code = CODE[Path(file).stem]
        parts += [f"## `{function}`", words, f"```py\n{code}\n```", f"![{words}]({folder}/{file})"]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Draw the gallery and write its page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of gallery.md")
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    pictures = draw(args.out / "gallery", args.epochs)
    (args.out / "gallery.md").write_text(page(pictures, "gallery"), encoding="utf-8")
    size = sum(file.stat().st_size for file in (args.out / "gallery").iterdir())
    print(f"{len(pictures)} pictures, {size / 1e6:.2f} MB, in {args.out / 'gallery'}")


if __name__ == "__main__":
    main()
