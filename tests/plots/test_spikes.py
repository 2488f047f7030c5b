"""Rasters and voltage traces draw the given values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots import style
from sigprop_snn.plots.arrays import ordinal, thin_step
from sigprop_snn.plots.style import GREY, NEGATIVE, PALETTE, READOUT, spread


def marks(ax: Axes, gid: str = "spikes"):
    return [c for c in ax.collections if c.get_gid() == gid]


def count(ax: Axes, gid: str = "spikes") -> int:
    return sum(len(c.get_paths()) for c in marks(ax, gid))


def words(ax: Axes) -> str:
    return " | ".join(t.get_text() for t in ax.texts)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_raster_draws_one_mark_at_the_place_of_each_spike():
    spikes = np.zeros((8, 10))
    spikes[2, 7] = spikes[5, 0] = 1
    ax = plots.raster(spikes, title="layer1", step_ms=2.0)
    assert ax.get_title(loc="left") == "layer1"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron")
    centres = sorted(tuple(p.vertices[:4].mean(axis=0)) for p in marks(ax)[0].get_paths())
    assert np.allclose(centres, [(4.0, 7.0), (10.0, 0.0)])
    assert ax.get_xlim() == (-1.0, 15.0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.bfloat16])
def test_raster_takes_tensors_of_any_dtype_and_flattens_after_time(dtype):
    spikes = (torch.rand(6, 2, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.3).to(dtype)
    ax = plots.raster(spikes)
    assert count(ax) == int((spikes > 0).sum()) > 0
    assert ax.get_ylim() == (-0.5, 23.5)
    assert ax.get_xlabel() == "time (step)"


def test_raster_thins_a_hundred_thousand_neurons_and_says_so(rng):
    spikes = rng.random((5, 100_000)) < 0.1
    ax = plots.raster(spikes, max_neurons=500)
    assert "every 201st of 100,000 neurons" in ax.get_ylabel()
    assert count(ax) == int(spikes[:, ::201].sum())


def test_raster_draws_negative_spikes_in_another_colour():
    ax = plots.raster(np.array([[1, -1, 0], [-1, -1, 0]]))
    assert (count(ax), count(ax, "negative spikes")) == (1, 3)
    colour = marks(ax, "negative spikes")[0].get_facecolor()[0]
    assert np.allclose(colour, to_rgba(NEGATIVE))


def test_thinning_shares_no_factor_with_the_count():
    for number in (3136, 2312, 100_352, 784):
        step = thin_step(number, 100, "limit")
        assert np.gcd(step, number) == 1
        assert len(range(0, number, step)) <= 100
    assert thin_step(100, 100, "limit") == 1
    assert [ordinal(n) for n in (2, 3, 11, 21, 112)] == ["2nd", "3rd", "11th", "21st", "112th"]


def test_network_raster_draws_current_spikes_and_readout_voltage(rng):
    picture = rng.random((1, 6, 6))
    spikes = (rng.random((8, 30)) < 0.2).astype(float)
    voltage = np.zeros((8, 4))
    voltage[:, 2] = np.linspace(0, 3.5, 8)
    panels = plots.network_raster(
        {"input": np.repeat(picture[None], 8, 0), "layer1": spikes, "readout": voltage},
        label=2,
        title="sample",
    )
    top, layer, readout = panels
    assert len(top.images) == 1 and not marks(top)
    assert np.allclose(top.images[0].get_array(), picture.reshape(36, 1))
    assert np.argmax(top.child_axes[0].images[0].get_array()) == picture.argmax()
    assert count(layer) == int(spikes.sum())
    assert np.allclose(marks(layer)[0].get_facecolor()[0], to_rgba(PALETTE[0]))
    assert f"{100 * spikes.mean():.1f}" in words(layer) and "spike rate (%)" in words(layer)
    assert np.allclose(readout.lines[2].get_ydata(), voltage[:, 2])
    widths = [line.get_linewidth() for line in readout.lines[:4]]
    assert widths.index(max(widths)) == 2
    assert "2: predicted, true" in words(readout)
    assert readout.get_xlabel() == "time (step)"
    assert layer.get_xlim() == readout.get_xlim()


def test_network_raster_marks_a_wrong_winner_and_the_label(rng):
    voltage = rng.normal(size=(10, 3)) + np.array([0, 9, 0])
    layers = {"layer1": np.ones((10, 5)), "readout": voltage}
    text = words(plots.network_raster(layers, label=0, classes=["cat", "dog", "cow"])[-1])
    assert "dog: predicted" in text and "cat: true" in text
    assert "c: predicted" in words(plots.network_raster(layers, winner=2, classes=list("abc"))[-1])


def test_network_raster_names_no_winner_of_a_silent_readout():
    layers = {"layer1": np.zeros((4, 20)), "readout": np.zeros((4, 3))}
    panels = plots.network_raster(layers, label=0)
    assert "silent" in words(panels[0])
    assert "tie, no class" in words(panels[1])


def test_network_raster_colours_events_by_polarity(rng):
    events = rng.poisson(0.2, (6, 2, 5, 5))
    events[:, 1, :4] = 0
    panel = plots.network_raster({"input": events}, step_ms=10.0)[0]
    assert count(panel, "off spikes") == int((events[:, 0] > 0).sum())
    assert count(panel, "on spikes") == int((events[:, 1] > 0).sum())
    assert f"{events.mean() * 100:.1f}" in words(panel) and "(Hz)" in words(panel)


def test_network_raster_grows_with_the_layer_and_thins_a_large_one(rng):
    big = rng.random((8, 100_000)) < 0.02
    panels = plots.network_raster({"a": np.ones((8, 10)), "b": big, "c": np.ones((8, 1000))})
    panels[0].get_figure().draw_without_rendering()
    small, huge, middle = (panel.bbox.height for panel in panels)
    assert small < middle <= huge < 4 * small
    assert count(panels[1]) == int(big[:, ::201].sum())
    assert "every 201st drawn" in words(panels[1])


def test_a_layer_keeps_its_colour_with_or_without_input_and_readout():
    colours = plots.layer_colours(["input", "a", "b", "readout"])
    assert colours["a"] == plots.layer_colours(["a", "b"])["a"]
    assert colours["b"] == plots.layer_colours(["a", "b"])["b"]
    assert (colours["input"], colours["readout"]) == (GREY, READOUT)
    assert len(set(PALETTE) | {GREY, READOUT}) == 12


def test_voltage_traces_draw_voltage_threshold_and_spikes(rng):
    voltage = rng.normal(size=(30, 6))
    spikes = voltage > 1.25
    lanes = plots.voltage_traces(voltage, spikes, 1.25, neurons=[4, 1], title="layer1")
    for lane, neuron in zip(lanes, (4, 1), strict=True):
        lines = {line.get_label(): line for line in lane.lines}
        assert np.allclose(lines["voltage"].get_ydata(), voltage[:, neuron])
        assert np.allclose(lines["threshold"].get_ydata(), 1.25)
        where = [p.vertices[0, 0] for p in marks(lane)[0].get_paths()]
        assert where == np.flatnonzero(spikes[:, neuron]).tolist()
        assert lane.get_ylabel() == f"neuron {neuron}"
        assert "threshold 1.25" in words(lane)
    assert "voltage" in words(lanes[0])
    assert lanes[-1].get_xlabel() == "time (step)"


def test_voltage_traces_choose_neurons_that_spike():
    spikes = np.zeros((20, 50))
    spikes[:5, 13] = spikes[:2, 40] = spikes[3, 7] = 1
    voltage = np.full((20, 50), 0.1)
    voltage[0, 22] = 0.9
    names = [lane.get_ylabel() for lane in plots.voltage_traces(voltage, spikes, neurons=4)]
    assert names == ["neuron 13", "neuron 40", "neuron 7", "neuron 22"]
    assert len(plots.voltage_traces(voltage[:, :3])) == 3


def test_neurons_of_feature_maps_are_named_by_map_and_position(rng):
    lanes = plots.voltage_traces(rng.normal(size=(9, 3, 4, 5)), neurons=[0, 33])
    assert [lane.get_ylabel() for lane in lanes] == ["map 0\ny 0, x 0", "map 1\ny 2, x 3"]


def test_a_spike_is_a_short_vertical_tick():
    ax = plots.raster(np.eye(10))
    ax.figure.draw_without_rendering()
    for path in marks(ax)[0].get_paths():
        width, height = np.ptp(ax.transData.transform(path.vertices), axis=0)
        assert 4 * width < height


def test_no_colour_of_the_input_or_a_sign_is_that_of_a_layer():
    meanings = {style.ON, style.OFF, style.POSITIVE, style.NEGATIVE, style.READOUT, style.GREY}
    assert len(meanings) == 6
    assert not meanings & set(PALETTE)


def test_neuron_comparison_has_a_lane_for_the_current_and_each_model(rng):
    current = rng.random(40)
    traces = {name: (rng.random(40), rng.random(40) < 0.3) for name in ("lif", "alif")}
    lanes = plots.neuron_comparison(traces, torch.tensor(current), threshold=0.5, step_ms=1.0)
    assert len(lanes) == 3
    assert np.allclose(lanes[0].lines[0].get_ydata(), current)
    for lane, (name, (voltage, spikes)) in zip(lanes[1:], traces.items(), strict=True):
        assert lane.get_ylabel() == name
        assert np.allclose(lane.lines[0].get_ydata(), voltage)
        assert len(marks(lane)[0].get_paths()) == spikes.sum()
        assert f"{spikes.sum()} spikes" in words(lane)
        assert lane.get_xlim() == lanes[0].get_xlim()


def test_spread_keeps_order_distance_and_bounds():
    placed = spread([0.5, 0.5, 0.51, 0.98, 0.99], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] <= 1 and placed[0] >= 0
    assert spread([0.1, 0.9], 0.1) == [0.1, 0.9]


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plots.raster(np.zeros((0, 4))), r"spikes .*\[0, 4\]"),
        (lambda: plots.raster(np.float64(1.0)), r"spikes has shape \[\]"),
        (lambda: plots.raster([[0.0, np.nan]]), r"spikes .* nan at \[0, 1\]"),
        (lambda: plots.raster([[0.5, 1.0]]), r"spikes .*\[1, 2\]"),
        (lambda: plots.raster([[1, 0], [1]]), "spikes"),
        (lambda: plots.raster([["a"]]), "spikes has dtype <U1"),
        (lambda: plots.raster([[1]], step_ms=0.0), "step_ms is 0.0"),
        (lambda: plots.raster([[1]], max_neurons=0), "max_neurons is 0"),
        (lambda: plots.network_raster({}), "layers"),
        (
            lambda: plots.network_raster({"a": np.ones((4, 2)), "b": np.ones((5, 2))}),
            r"layers\['b'\] has shape \[5, 2\].* 4 steps",
        ),
        (
            lambda: plots.network_raster(
                {"a": np.ones((4, 2)), "readout": np.ones((4, 3))}, label=3
            ),
            "label is 3.* 0 to 2",
        ),
        (
            lambda: plots.voltage_traces(np.ones((4, 3)), np.ones((4, 2))),
            r"spikes has shape \[4, 2",
        ),
        (lambda: plots.voltage_traces(np.ones((4, 3)), neurons=[3]), "neurons holds 3"),
        (lambda: plots.voltage_traces(np.ones((4, 3)), threshold=np.nan), "threshold is nan"),
        (
            lambda: plots.neuron_comparison({"lif": (np.ones(3), np.ones(4))}, np.ones(4)),
            r"voltage of traces\['lif'\] has shape \[3\].*\[4\]",
        ),
        (lambda: plots.neuron_comparison({}, np.ones(4)), "traces"),
    ],
)
def test_bad_input_names_the_argument_and_the_shapes(draw, match):
    with pytest.raises(SigpropError, match=match):
        draw()
