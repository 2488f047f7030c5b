"""Pictures of angles, alignment and separability, and the comparison of rules."""

import numpy as np
import pytest

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.style import BACKWARD, LOCAL

SEEN = [0, 100, 200]


def lines(ax):
    return {x.get_label(): x for x in ax.lines if not x.get_label().startswith("_")}


def words(ax):
    return [t.get_text() for t in ax.texts]


def test_angles_are_drawn_with_a_line_at_90_degrees():
    found = plots.update_angles(SEEN, {"block1": [90, 70, 60], "readout": [0, 0, 0]})
    assert lines(found)["block1"].get_ydata().tolist() == [90, 70, 60]
    assert {"unrelated directions", "block1  60°", "readout  0°"} <= set(words(found))
    assert found.get_ylim() == (0, 100)
    wide = plots.update_angles(SEEN, {"block1": [90, 120, 170]})
    assert wide.get_ylim() == (0, 180)


def test_a_layer_without_an_angle_leaves_a_gap():
    found = plots.update_angles(SEEN, {"block1": [90, 70, np.nan]})
    assert np.isnan(lines(found)["block1"].get_ydata()[2])
    assert "block1  70°" in words(found)


def test_alignment_draws_same_and_other_classes_in_the_layers_colour():
    found = plots.stream_alignment(SEEN, {"block1": [0.1, 0.5, 0.8]}, {"block1": [0.1, 0.05, 0.02]})
    same, other = lines(found)["block1"], lines(found)["block1, other classes"]
    assert same.get_color() == other.get_color() == plots.layer_colours(["block1"])["block1"]
    assert other.get_ydata().tolist() == [0.1, 0.05, 0.02]
    assert [t.get_text() for t in found.get_legend().get_texts()] == ["same class", "other classes"]


def test_separability_is_in_percent():
    found = plots.separability(SEEN, {"input": [0.8, 0.8, 0.8], "block1": [0.8, 0.9, 0.95]})
    assert np.allclose(lines(found)["block1"].get_ydata(), [80, 90, 95])
    assert "block1  95.0" in words(found)
    assert found.get_ylim()[1] <= 101


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plots.update_angles(SEEN, {}), "no layer"),
        (lambda: plots.update_angles(SEEN, {"a": [1, 2]}), r"values of 'a' has shape \[2\]"),
        (lambda: plots.update_angles(SEEN, {"a": [np.nan] * 3}), "values of 'a'"),
        (lambda: plots.update_angles([], {"a": []}), "seen"),
        (lambda: plots.stream_alignment(SEEN, {"a": SEEN}, {"b": SEEN}), r"\['a'\].*\['b'\]"),
        (lambda: plots.separability(SEEN, {"a": [[1]]}), r"'a' has shape \[1, 1\]"),
        (lambda: plots.rule_spectrum([{"rule": "a", "accuracy": "x"}]), r"\['accuracy'\] is 'x'"),
        (
            lambda: plots.rule_spectrum([{"rule": "a", "accuracy": float("inf")}]),
            r"rows\[0\]\['accuracy'\] is inf",
        ),
    ],
)
def test_bad_input_names_the_argument(draw, match):
    with pytest.raises(SigpropError, match=match):
        draw()


def test_rules_with_a_backward_pass_have_another_colour_and_needs_have_discs():
    rows = [
        {"rule": "local", "accuracy": 0.97, "operations": 2.5e6, "backward_pass": False,
         "stored_activations": ""},
        {"rule": "bp", "accuracy": 0.98, "spikes": 12.0, "backward_pass": True,
         "stored_activations": "both"},
    ]  # fmt: skip
    accuracy, operations, spikes, needs = plots.rule_spectrum(rows)
    assert [line.get_color() for line in accuracy.lines if line.get_marker() == "o"] == [
        LOCAL,
        BACKWARD,
    ]
    assert words(operations) == ["2.5 M", "not measured"]
    assert words(spikes) == ["none", "12"]
    assert words(needs) == ["both"]
    sizes = [line.get_markersize() for line in needs.lines]
    assert sizes == [2.5, 2.5, 7, 7]  # the local rule needs nothing
    names = [t.get_text() for t in needs.get_xticklabels()]
    assert names == ["backward pass", "transposed weights", "feedback weights", "stored activity"]
