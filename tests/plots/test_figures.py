"""Curves, maps, tables, events, animation and saving."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.style import ON

EVENT = np.dtype([("x", "<i8"), ("y", "<i8"), ("t", "<i8"), ("p", "<i8")])


def history(epochs: int, layers: int = 2):
    return [
        {
            "epoch": e,
            "train_accuracy": 0.9 - 0.5 / e,
            "test_accuracy": 0.88 - 0.5 / e,
            "loss": 2.0 / e,
            "seconds": 1.0,
            "layers": [
                {"name": f"layer{i + 1}", "accuracy": 0.5 + 0.01 * i, "loss": (1.0 + i) / e}
                for i in range(layers)
            ],
        }
        for e in range(1, epochs + 1)
    ]


def words(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


def named_lines(ax):
    return {x.get_label(): x for x in ax.lines if not x.get_label().startswith("_")}


@pytest.mark.parametrize(("epochs", "layers"), [(1, 2), (5, 3), (100, 10)])
def test_learning_curves_draw_every_layer_and_the_network(epochs, layers):
    records = history(epochs, layers)
    accuracy, loss = plots.learning_curves(records)
    names = [f"layer{i + 1}" for i in range(layers)]
    lines = named_lines(accuracy)
    assert list(lines) == [*names, "network, test", "network, train"]
    assert np.allclose(
        lines["network, test"].get_ydata(), [100 * r["test_accuracy"] for r in records]
    )
    assert lines["layer1"].get_xdata().tolist() == list(range(1, epochs + 1))
    assert (lines["layer1"].get_marker() == "o") == (epochs <= 12)
    assert list(named_lines(loss)) == names
    assert np.allclose(
        named_lines(loss)["layer2"].get_ydata(), [r["layers"][1]["loss"] for r in records]
    )
    assert "layer2  51.0" in words(accuracy)
    colours = plots.layer_colours(names)
    for panel in (accuracy, loss):
        assert all(named_lines(panel)[n].get_color() == colours[n] for n in names)
        heights = sorted(t.get_position()[1] for t in panel.texts)
        assert heights[0] >= 0 and heights[-1] <= 1
        panel.get_figure().draw_without_rendering()
        boxes = sorted((t.get_window_extent() for t in panel.texts), key=lambda box: box.y0)
        assert all(b.y0 - a.y0 > 5 for a, b in itertools.pairwise(boxes))


def test_learning_curves_leave_gaps_and_fall_back_on_the_networks_loss():
    records = history(3, 1)
    records[1]["layers"] = []
    accuracy, _ = plots.learning_curves(records)
    assert np.isnan(named_lines(accuracy)["layer1"].get_ydata()[1])
    _, loss = plots.learning_curves([{"epoch": 1, "loss": 0.7}])
    assert named_lines(loss)["network"].get_ydata().tolist() == [0.7]
    wide = [{"epoch": e, "loss": 10.0**-e} for e in range(4)]
    assert plots.learning_curves(wide)[1].get_yscale() == "log"


def test_rule_spectrum_shows_accuracy_and_the_costs_that_are_known():
    rows = [
        {"rule": "voltage", "accuracy": 0.97, "accuracy_std": 0.01, "seconds": 3.0},
        {"rule": "surrogate", "accuracy": 0.96, "seconds": None},
    ]
    accuracy, seconds = plots.rule_spectrum(rows)
    assert [t.get_text() for t in accuracy.get_yticklabels()] == ["voltage", "surrogate"]
    assert words(accuracy) == ["97.0 ± 1.0", "96.0"]
    assert [bar.get_width() for bar in seconds.patches] == [3.0, 0.0]
    assert words(seconds) == ["3", "not measured"]


def test_surrogate_comparison_draws_primitive_derivative_and_spike():
    u = np.linspace(-2, 2, 41)
    f = 1 / (1 + np.exp(-4 * u))
    left, right = plots.surrogate_comparison({"sigmoid": (f, 4 * f * (1 - f))}, u)
    assert np.allclose(named_lines(left)["sigmoid"].get_ydata(), f)
    assert np.allclose(named_lines(right)["sigmoid"].get_ydata(), 4 * f * (1 - f))
    assert np.allclose(named_lines(left)["spike"].get_ydata(), u >= 0)
    assert words(left) == ["spike", "sigmoid"]


def test_event_frames_mix_the_inks_of_two_polarities():
    frames = np.zeros((3, 2, 4, 5), np.int16)
    frames[1, 1, 2, 3] = 1
    panels = plots.event_frames(frames, step_ms=15.0)
    assert [p.get_title() for p in panels] == ["0–15 ms", "15–30 ms", "30–45 ms"]
    picture = np.asarray(panels[1].images[0].get_array())
    assert np.allclose(picture[2, 3], matplotlib.colors.to_rgb(ON))
    assert np.allclose(np.delete(picture.reshape(20, 3), 13, 0), 1.0)
    many = plots.event_frames(np.ones((100, 1, 4, 4)), max_frames=10)
    assert len(many) <= 10 and many[1].get_title() == "11"


def test_event_cloud_draws_every_event_in_ms_and_thins_a_long_recording():
    events = np.zeros(30, EVENT)
    events["t"] = 5000 + 1000 * np.arange(30)
    events["x"], events["y"], events["p"] = np.arange(30), 7, np.arange(30) % 3 == 0
    ax = plots.event_cloud(events)
    off, on = ax.collections
    assert (len(off.get_offsets()), len(on.get_offsets())) == (20, 10)
    assert np.allclose(on._offsets3d[0], np.arange(0, 30, 3))
    assert ax.get_title(loc="left") == "30 events"
    thin = plots.event_cloud(events, max_events=10)
    assert "every 7th of 30 events" in thin.get_title(loc="left")


def test_rate_maps_are_means_over_time():
    spikes = torch.zeros(4, 3, 5, 6)
    spikes[:2, 1, 2, 3] = 1
    panels = plots.rate_maps(spikes, step_ms=2.0)
    assert np.isclose(panels[1].images[0].get_array()[2, 3], 250.0)
    assert panels[0].get_title() == "0: silent"
    assert len({panel.images[0].get_clim() for panel in panels}) == 1
    assert len(plots.rate_maps(np.zeros((2, 100, 3, 3)), max_channels=16)) <= 16


@pytest.mark.parametrize(
    "shape", [(5, 4, 4), (5, 1, 4, 4), (5, 2, 4, 4), (5, 3, 4, 4), (5, 6, 4, 4)]
)
def test_weights_share_one_symmetric_scale(shape):
    weights = np.random.default_rng(0).normal(size=shape)
    panels = plots.weights_as_pictures(weights)
    assert len(panels) == 5
    image = np.asarray(panels[2].images[0].get_array())
    if shape[1] == 3:
        assert np.allclose((image - 0.5) * 2 * np.abs(weights).max(), weights[2].transpose(1, 2, 0))
        return
    low, high = panels[2].images[0].get_clim()
    assert low == -high
    expected = weights if len(shape) == 3 else weights.mean(axis=1)
    if len(shape) == 4 and shape[1] == 2:
        assert np.allclose(image[:, :4], weights[2, 0]) and np.allclose(
            image[:, -4:], weights[2, 1]
        )
    else:
        assert np.allclose(image, expected[2])


def test_similarity_sorts_rows_by_class_and_frames_the_context_of_each():
    matrix = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    ax = plots.similarity(matrix, labels=[1, 0, 1], classes=["cat", "dog"])
    assert np.allclose(ax.images[0].get_array(), matrix[[1, 0, 2]])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cat", "dog"]
    assert len([x for x in ax.lines if x.get_label() == "_frame"]) == 2
    assert words(ax)[0] == "0.80" and ax.images[0].get_clim() == (-1.0, 1.0)


def test_confusion_writes_counts_and_colours_shares():
    ax = plots.confusion([[8, 2], [0, 30]], ["cat", "dog"], title="digits")
    assert words(ax) == ["8", "2", "30"]
    assert np.allclose(ax.images[0].get_array(), [[0.8, 0.2], [0.0, 1.0]])
    assert ax.get_title(loc="left") == "digits (95.0 % of 40 right)"
    assert words(plots.confusion(np.zeros((30, 30), int))) == []


def test_animation_has_a_frame_for_each_step_and_shows_the_spikes(tmp_path):
    spikes = np.zeros((7, 3, 5, 5))
    spikes[4] = 1
    layers = {"conv1": spikes, "layer2": np.zeros((7, 40)), "readout": np.ones((7, 10)) * 0.5}
    path = plots.animate_layers(layers, tmp_path / "sample.gif", title="sample")
    with Image.open(path) as picture:
        assert picture.n_frames == 7
        blue = []
        for frame in range(7):
            picture.seek(frame)
            pixels = np.asarray(picture.convert("RGB")).astype(int)
            assert (pixels[0, 0] == 255).all()
            blue.append(int((pixels[..., 2] - pixels[..., 0] > 100).sum()))
    assert int(np.argmax(blue)) == 4 and blue[4] > 5 * max(blue[:4] + blue[5:])
    assert [p.name for p in tmp_path.iterdir()] == ["sample.gif"]


def test_animation_thins_large_layers_and_long_samples(tmp_path):
    layers = {"a": np.eye(30, 100_000), "b": np.zeros((30, 100, 8, 8))}
    path = plots.animate_layers(layers, tmp_path / "big.gif", max_frames=5)
    with Image.open(path) as picture:
        assert picture.n_frames == 5 or picture.n_frames == len(range(0, 30, 7))


def test_save_writes_a_complete_png_of_150_dpi(tmp_path):
    panels = plots.learning_curves(history(2))
    for picture in (panels, panels[0], panels[0].get_figure()):
        path = plots.save(picture, tmp_path / "new" / "curves.png")
        with Image.open(path) as image:
            assert image.format == "PNG" and round(image.info["dpi"][0]) == 150
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]
    half = Figure().subfigures(1, 2)[1]
    grid = np.array([[plots.raster([[1]], ax=half.add_subplot())]])
    assert plots.save(grid, tmp_path / "half.png").exists()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(self, name, **kwargs):
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(SigpropError, match=r"picture\.png.*disk full"):
        plots.save(plots.raster([[1]]), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plots.save(plots.raster([[1]]), "~/x.png") == tmp_path / "x.png"


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plots.learning_curves([]), "history"),
        (
            lambda: plots.learning_curves([{"epoch": 1, "test_accuracy": float("nan")}]),
            r"history\[0\]\['test_accuracy'\] is nan",
        ),
        (lambda: plots.learning_curves([{"epoch": "x"}]), r"history\[0\]\['epoch'\] is 'x'"),
        (lambda: plots.learning_curves([{"layers": [{}]}]), r"history\[0\]\['layers'\]"),
        (lambda: plots.rule_spectrum([]), "rows"),
        (lambda: plots.rule_spectrum([{"rule": "a"}]), r"rows\[0\] has no 'accuracy'"),
        (
            lambda: plots.surrogate_comparison({"a": ([1.0], [1.0, 2.0])}, [0.0]),
            r"df of functions\['a'\] has shape \[2\]",
        ),
        (lambda: plots.surrogate_comparison({}, [0.0]), "functions"),
        (lambda: plots.event_frames(np.ones((2, 4, 4))), r"frames has shape \[2, 4, 4\]"),
        (lambda: plots.event_frames(-np.ones((2, 1, 4, 4))), "frames holds -1"),
        (lambda: plots.event_frames(np.ones((2, 1, 4, 4)), columns=0), "columns is 0"),
        (lambda: plots.event_cloud(np.ones(4)), "events is ndarray"),
        (lambda: plots.event_cloud(np.zeros(0, EVENT)), r"events has shape \[0\]"),
        (
            lambda: plots.event_cloud(np.zeros(2, EVENT), ax=Figure().add_subplot()),
            "'rectilinear'.*'3d'",
        ),
        (
            lambda: plots.raster(np.ones((4, 2)), ax=Figure().add_subplot(projection="3d")),
            "'3d'; expected axes of two dimensions",
        ),
        (lambda: plots.rate_maps(np.ones((2, 3, 4))), r"spikes has shape \[2, 3, 4\]"),
        (lambda: plots.weights_as_pictures(np.ones((2, 3))), r"weights has shape \[2, 3\]"),
        (lambda: plots.similarity(np.ones(3)), r"matrix has shape \[3\]"),
        (lambda: plots.similarity(np.eye(2), labels=[0, 2]), "labels go from 0 to 2"),
        (lambda: plots.similarity(np.eye(2), labels=[0]), r"labels has shape \[1\]"),
        (lambda: plots.confusion(np.ones((2, 3))), r"matrix has shape \[2, 3\]"),
        (lambda: plots.confusion([[0.5]]), r"matrix .*\[1, 1\]"),
        (lambda: plots.confusion(np.eye(2), ["a"]), "classes holds 1 names.* 2"),
        (lambda: plots.animate_layers({}, "x.gif"), "layers"),
        (lambda: plots.animate_layers({"a": np.ones((2, 2))}, "x.mp4"), r"x\.mp4.*'\.gif'"),
        (
            lambda: plots.animate_layers({"a": np.ones((2, 2)), "b": np.ones((3, 2))}, "x.gif"),
            r"layers\['b'\] has shape \[3, 2\].* 2 steps",
        ),
        (lambda: plots.save(plots.raster([[1]]), "x.jpg"), r"x\.jpg.*'\.png', '\.svg', '\.pdf'"),
        (lambda: plots.save([], "x.png"), "picture is list"),
        (lambda: plots.save(plots.raster([[1]]), "/dev/null/x.png"), r"/dev/null/x\.png"),
    ],
)
def test_bad_input_names_the_argument(draw, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SigpropError, match=match):
        draw()
    assert list(tmp_path.iterdir()) == []
