"""Every picture draws on the Axes that it gets, returns the Axes drawn on, and takes any size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.style import headless

DOCS = Path(__file__).parents[2] / "docs"
NO_PICTURE = {"save", "layer_colours", "axes_row"}
NAMES = ("zero", "$\\frac$", "a$b$c", "x" * 200)


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < 0.1).float()


def events(count: int) -> np.ndarray:
    made = np.random.default_rng(0)
    found = np.zeros(count, [("x", "<i8"), ("y", "<i8"), ("t", "<i8"), ("p", "<i8")])
    for field, top in (("x", 128), ("y", 128), ("t", 10**6), ("p", 2)):
        found[field] = made.integers(0, top, count)
    return found


def history(epochs: int, layers: int) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "test_accuracy": 0.5,
            "layers": [
                {"name": f"block{i + 1}", "accuracy": 0.5, "loss": 1 / epoch} for i in range(layers)
            ],
        }
        for epoch in range(1, epochs + 1)
    ]


def many(layers: int, points: int) -> dict[str, torch.Tensor]:
    return {f"block{i + 1}": torch.rand(points) for i in range(layers)}


def bins(layers: int, count: int) -> dict:
    edges = torch.linspace(-3, 2, count + 1)
    return {f"block{i + 1}": (edges, torch.arange(count)) for i in range(layers)}


def traces(models: int, steps: int) -> tuple[dict, torch.Tensor]:
    return {f"model{i}": (torch.rand(steps), spikes(steps)) for i in range(models)}, spikes(steps)


u = torch.linspace(-2, 2, 101)
Draw = Callable[[Axes | None], object]
SMALL: dict[str, Draw] = {
    "raster": lambda ax: plots.raster(spikes(10, 20), ax=ax),
    "network_raster": lambda ax: plots.network_raster(
        {"input": spikes(10, 2, 4, 4), "block1": spikes(10, 20), "readout": torch.rand(10, 4)},
        classes=NAMES, label=1, winner=3, ax=ax,
    ),
    "voltage_traces": lambda ax: plots.voltage_traces(torch.rand(10, 9), spikes(10, 9), ax=ax),
    "voltage_histogram": lambda ax: plots.voltage_histogram(bins(2, 20), ax=ax),
    "learning_curves": lambda ax: plots.learning_curves(history(4, 2), ax=ax),
    "confusion": lambda ax: plots.confusion(torch.eye(4).int(), NAMES, ax=ax),
    "similarity": lambda ax: plots.similarity(torch.eye(4), classes=NAMES, ax=ax),
    "rule_spectrum": lambda ax: plots.rule_spectrum(
        [{"rule": name, "accuracy": 0.9} for name in NAMES], ax=ax
    ),
    "update_angles": lambda ax: plots.update_angles([0, 9], {n: [90, 60] for n in NAMES}, ax=ax),
    "stream_alignment": lambda ax: plots.stream_alignment(
        [0, 9], {n: [0.1, 0.9] for n in NAMES}, {n: [0.1, 0.2] for n in NAMES}, ax=ax
    ),
    "separability": lambda ax: plots.separability([0, 9], {n: [0.1, 0.9] for n in NAMES}, ax=ax),
    "weights_as_pictures": lambda ax: plots.weights_as_pictures(torch.rand(6, 1, 5, 5), ax=ax),
    "rate_maps": lambda ax: plots.rate_maps(spikes(8, 6, 5, 5), ax=ax),
    "event_frames": lambda ax: plots.event_frames(spikes(8, 2, 6, 6), ax=ax),
    "event_cloud": lambda ax: plots.event_cloud(events(50), ax=ax),
    "neuron_comparison": lambda ax: plots.neuron_comparison(*traces(3, 20), ax=ax),
    "surrogate_comparison": lambda ax: plots.surrogate_comparison(
        {"one": (u.sigmoid(), u.sigmoid())}, u, ax=ax
    ),
}  # fmt: skip
LARGE: dict[str, Draw] = {
    "raster": lambda ax: plots.raster(spikes(500, 5000), ax=ax),
    "network_raster": lambda ax: plots.network_raster(
        {
            "input": spikes(50, 2, 64, 64),
            **{f"block{i}": spikes(50, 32, 16, 16) for i in range(4)},
            "readout": torch.rand(50, 100),
        },
        ax=ax,
    ),
    "voltage_traces": lambda ax: plots.voltage_traces(torch.rand(5000, 2000), ax=ax),
    "voltage_histogram": lambda ax: plots.voltage_histogram(bins(16, 200), ax=ax),
    "learning_curves": lambda ax: plots.learning_curves(history(1000, 12), ax=ax),
    "confusion": lambda ax: plots.confusion(torch.ones(200, 200).int(), ax=ax),
    "similarity": lambda ax: plots.similarity(torch.rand(5000, 100), ax=ax),
    "rule_spectrum": lambda ax: plots.rule_spectrum(
        [{"rule": f"rule {i}", "accuracy": 0.9, "seconds": 1.0} for i in range(40)], ax=ax
    ),
    "update_angles": lambda ax: plots.update_angles(torch.arange(1000), many(12, 1000), ax=ax),
    "stream_alignment": lambda ax: plots.stream_alignment(
        torch.arange(1000), many(12, 1000), many(12, 1000), ax=ax
    ),
    "separability": lambda ax: plots.separability(torch.arange(1000), many(12, 1000), ax=ax),
    "weights_as_pictures": lambda ax: plots.weights_as_pictures(torch.rand(500, 1, 9, 9), ax=ax),
    "rate_maps": lambda ax: plots.rate_maps(spikes(20, 256, 16, 16), ax=ax),
    "event_frames": lambda ax: plots.event_frames(spikes(200, 2, 64, 64), ax=ax),
    "event_cloud": lambda ax: plots.event_cloud(events(500_000), ax=ax),
    "neuron_comparison": lambda ax: plots.neuron_comparison(*traces(12, 2000), ax=ax),
    "surrogate_comparison": lambda ax: plots.surrogate_comparison(
        {f"s{i}": (u.sigmoid(), u.sigmoid()) for i in range(20)}, u, ax=ax
    ),
}


def drawn_on(made: object) -> list[Axes]:
    axes = [made] if isinstance(made, Axes) else list(made)
    assert axes and all(isinstance(one, Axes) for one in axes)
    return axes


def test_every_public_picture_is_tested_and_is_in_the_gallery():
    pictures = set(plots.__all__) - NO_PICTURE - {"animate_layers"}
    assert set(SMALL) == set(LARGE) == pictures
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## `(\w+)`$", page, re.M)) == set(plots.__all__) - NO_PICTURE
    files = {DOCS / name for name in re.findall(r"\]\((gallery/[^)]+)\)", page)}
    assert files == set((DOCS / "gallery").iterdir())
    assert sum(file.stat().st_size for file in files) < 2_000_000


@pytest.mark.parametrize("name", SMALL)
def test_a_picture_draws_on_its_axes_alone_and_changes_no_global_setting(name):
    figure = Figure(figsize=(7.0, 5.0))
    FigureCanvasAgg(figure)
    projection = "3d" if name == "event_cloud" else None
    ax, beside = figure.add_subplot(121, projection=projection), figure.add_subplot(122)
    settings, figures = dict(matplotlib.rcParams), plt.get_fignums()
    axes = drawn_on(SMALL[name](ax))
    # A grid of panels is inside of the Axes that it replaces.
    assert all(one is ax or one in ax.child_axes for one in axes)
    assert not beside.has_data()
    assert beside.child_axes == []
    figure.canvas.draw()
    with headless():
        alone = drawn_on(SMALL[name](None))
    assert alone[0].get_figure(root=True) is not figure
    assert (dict(matplotlib.rcParams), plt.get_fignums()) == (settings, figures)


@pytest.mark.parametrize("name", LARGE)
def test_a_picture_takes_large_input(name):
    with headless():
        (first, *_) = drawn_on(LARGE[name](None))
    first.get_figure(root=True).canvas.draw()


def test_a_histogram_fills_the_bins_above_the_threshold_darker():
    edges = torch.tensor([-2.0, -1.0, 0.0, 1.0])
    (strip,) = plots.voltage_histogram({"block1": (edges, torch.tensor([2, 5, 3]))})
    below, above = strip.patches
    assert np.nan_to_num(below.get_data().values).tolist() == [2, 5, 0]
    assert np.nan_to_num(above.get_data().values).tolist() == [0, 0, 3]
    assert [text.get_text() for text in strip.texts] == ["block1", "30 % above"]


@pytest.mark.parametrize(
    ("edges", "counts", "message"),
    [
        ([0.0, 1.0], [1, 2], r"layers\['block1'\] has 2 borders and 2 counts"),
        ([1.0, 0.0], [1], r"layers\['block1'\]"),
        ([0.0, 1.0], [-1], r"layers\['block1'\]"),
        ([0.0, float("nan")], [1], r"edges of layers\['block1'\].*nan at \[1\]"),
    ],
)
def test_a_histogram_with_wrong_bins_is_refused(edges, counts, message):
    with pytest.raises(SigpropError, match=message):
        plots.voltage_histogram({"block1": (edges, counts)})
    with pytest.raises(SigpropError, match="layers"):
        plots.voltage_histogram({})
    for bins_of_one in (3, (edges, [1, 2], 3)):
        with pytest.raises(SigpropError, match=r"layers\['block1'\] .*expected edges"):
            plots.voltage_histogram({"block1": bins_of_one})


def test_rest_has_no_tick_label_if_it_would_overlap_the_threshold():
    volts = torch.tensor([[-20.0], [1.5]])
    (wide,) = plots.voltage_traces(volts, neurons=[0])
    assert wide.get_yticks().tolist() == [-20.0, 1.0]
    (near,) = plots.voltage_traces(volts / 20, neurons=[0])
    assert near.get_yticks().tolist() == [-1.0, 0.0, 1.0]


def test_learning_curves_are_below_each_other_in_a_narrow_place():
    def places(width: float) -> list[tuple[float, float]]:
        figure = Figure(figsize=(width, 6.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = plots.learning_curves(history(3, 2), ax=figure.add_subplot())
        figure.canvas.draw()
        return [(p.get_position().x0, p.get_position().y0) for p in panels]

    (left, height), (right, other) = places(8.6)
    assert left < right
    assert height == pytest.approx(other)
    (above_x, above), (below_x, below) = places(4.3)
    assert above > below
    assert above_x == pytest.approx(below_x)


def test_a_row_of_axes_takes_several_pictures():
    left, right = plots.axes_row(2, title="both")
    assert plots.raster(spikes(10, 20), ax=left) is left
    assert left.figure is right.figure
    assert left.figure.get_suptitle() == "both"
    left.figure.canvas.draw()
    assert left.get_position().x1 < right.get_position().x0
    with pytest.raises(SigpropError, match="count is 0"):
        plots.axes_row(0)
