"""A picture appears where a person expects it: in a notebook, and in pyplot's figure."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from sigprop_snn import plots
from sigprop_snn.plots.style import headless

ROOT = Path(__file__).parents[2]
SPIKES = np.eye(6)


def pictures_of(cells, folder):
    """Execute a notebook and return the number of pictures in each cell's output."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
    ]


PICTURES = {
    "import numpy as np\nfrom sigprop_snn import plots": 0,
    "plots.raster(np.eye(6))": 1,
    "plots.raster(np.eye(6)); plots.voltage_traces(np.random.rand(9, 3))": 2,
    "plots.save(plots.raster(np.eye(6)), 'r.png')": 1,
    "1 + 1": 0,
}


def test_a_notebook_has_its_pictures_with_pyplot_and_without_and_a_run_shows_none(
    tmp_path, monkeypatch
):
    """The notebook is in the clone's root, where folders have the names of packages.

    One kernel does all of it: to start one takes longer than its cells.
    """
    monkeypatch.delenv("MPLBACKEND", raising=False)
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    run = {
        "import sigprop_snn as sp\nfrom sigprop_snn.figures import draw_run\n"
        "run = sp.train(sp.TrainConfig('digits', epochs=1, steps=3, train_samples=60,"
        " test_samples=20, device='cpu', out='run'))": 0,
        "print(draw_run(run))": 0,
        "x, labels = next(iter(run.data.test))\n"
        "spikes = run.network.record(x, ['spike'])['block1']['spike'][:, 0]\n"
        "plots.raster(spikes)": 1,
        "plots.learning_curves(run.history)": 1,
    }
    imported, *shown = PICTURES.items()
    moved = f"import os\nos.chdir({str(tmp_path)!r})"
    pyplot = "import matplotlib.pyplot as plt"
    cells = [imported, (moved, 0), *shown, (pyplot, 0), *run.items(), *shown]
    code, pictures = zip(*cells, strict=True)
    assert pictures_of(code, str(ROOT)) == list(pictures)
    assert len(list((tmp_path / "run" / "figures").iterdir())) == 3


def test_without_an_axes_a_picture_is_a_figure_of_pyplot_that_show_shows():
    ax = plots.raster(SPIKES)
    assert plt.get_fignums() == [ax.figure.number]
    other = plots.raster(SPIKES)
    assert other.figure is not ax.figure  # a full Axes is left alone


def test_an_empty_subplot_is_drawn_on():
    figure, (left, right) = plt.subplots(1, 2)
    plt.sca(left)
    assert plots.raster(SPIKES) is left
    plt.sca(right)
    assert plots.voltage_traces(SPIKES)[0] in right.child_axes
    assert plots.raster(SPIKES).figure is not figure


def test_an_empty_figure_is_drawn_on():
    figure = plt.figure(figsize=(8, 2))
    assert plots.raster(SPIKES).figure is figure


def test_a_picture_that_needs_3d_makes_a_figure_of_its_own():
    figure, _ = plt.subplots()
    events = np.zeros(3, [("x", int), ("y", int), ("t", int), ("p", int)])
    assert plots.event_cloud(events).figure is not figure


def test_headless_pictures_are_unknown_to_pyplot():
    with headless():
        plots.raster(SPIKES)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_saved_in_each_format_and_the_same_twice(tmp_path, ending):
    ax = plots.raster(SPIKES, title="title")
    one = plots.save(ax, tmp_path / f"one.{ending}").read_bytes()
    two = plots.save(ax, str(tmp_path / f"two.{ending}"), dpi=150).read_bytes()
    assert one == two
    assert one.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])


def test_dots_per_inch_decide_the_size_of_a_png(tmp_path):
    ax = plots.raster(SPIKES)
    sizes = [
        plots.save(ax, tmp_path / f"{dpi}.png", dpi=dpi).read_bytes()[16:20] for dpi in (50, 100)
    ]
    small, large = (int.from_bytes(size, "big") for size in sizes)
    assert large == pytest.approx(2 * small, abs=4)
