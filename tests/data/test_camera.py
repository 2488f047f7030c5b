from __future__ import annotations

import numpy as np
import pytest
import torch
from tonic.io import events_struct

from sigprop_snn.data import SENSOR_SIZE, digit_events, load
from sigprop_snn.data.sets.camera import DURATION, _enlarge, _watch
from sigprop_snn.data.sets.static import digit_pictures
from sigprop_snn.errors import SigpropError


@pytest.fixture(scope="module")
def recordings():
    return digit_events("test")


def test_events_have_tonics_fields_and_are_inside_the_sensor_and_the_duration(recordings):
    events, labels = recordings
    assert len(events) == len(labels) == 360
    assert torch.equal(labels, digit_pictures("test")[1])
    for recording in events:
        assert recording.dtype == events_struct
        assert (np.diff(recording["t"]) >= 0).all()
        assert 500 < len(recording) < 3000
    every = np.concatenate(events)
    for field, limit in (("x", SENSOR_SIZE[0]), ("y", SENSOR_SIZE[1]), ("t", DURATION)):
        assert every[field].min() >= 0
        assert every[field].max() < limit
    assert 0.4 < every["p"].mean() < 0.6


def test_the_events_are_the_same_on_every_call(recordings):
    for before, again in zip(recordings[0], digit_events("test")[0], strict=True):
        assert np.array_equal(before, again)


def test_each_of_the_three_saccades_makes_events(recordings):
    for recording in recordings[0][:20]:
        share = np.bincount(recording["t"] // (DURATION // 3), minlength=3) / len(recording)
        assert share.min() > 0.2


def test_a_blank_picture_makes_no_event_and_a_higher_threshold_fewer():
    contrast = np.full((SENSOR_SIZE[1], SENSOR_SIZE[0]), 0.4)
    assert all(len(column) == 0 for column in _watch(np.zeros((2, 12, 12)), contrast))
    bright = _enlarge(digit_pictures("test")[0][:4, 0].numpy() / 16)
    few, many = (len(_watch(bright, contrast * k)[0]) for k in (1.0, 0.5))
    assert 1.5 * few < many < 2.5 * few


def test_events_add_up_to_the_change_of_brightness():
    """The camera returns to its start, so rises and falls of a pixel cancel to one threshold."""
    contrast = np.full((SENSOR_SIZE[1], SENSOR_SIZE[0]), 0.3)
    bright = _enlarge(digit_pictures("train")[0][:5, 0].numpy() / 16)
    sample, x, y, t, p = _watch(bright, contrast)
    net = np.zeros((5, SENSOR_SIZE[1], SENSOR_SIZE[0]), dtype=int)
    np.add.at(net, (sample, y, x), 2 * p - 1)
    assert np.abs(net).max() <= 1
    assert t.min() >= 0


@pytest.mark.parametrize("contrast", [0.05, 0.25])
def test_times_stay_in_the_recording_for_any_contrast(contrast):
    bright = _enlarge(digit_pictures("test")[0][:, 0].numpy() / 16)
    t = _watch(bright, np.full((SENSOR_SIZE[1], SENSOR_SIZE[0]), contrast))[3]
    assert t.min() >= 0
    assert t.max() < DURATION


def test_an_unknown_split_is_refused():
    with pytest.raises(SigpropError, match="split is 'val'"):
        digit_events("val")


def test_frames_hold_every_event_and_can_be_learned(recordings):
    from sklearn.linear_model import RidgeClassifier

    data = load("digit-events", steps=6)
    assert (data.train.samples, data.shape, data.steps) == (1437, (2, 16, 16), 6)

    def flat(batches):
        pairs = [(x.transpose(0, 1).flatten(1).numpy(), y.numpy()) for x, y in batches]
        return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))

    (train_x, train_y), (test_x, test_y) = flat(data.train), flat(data.test)
    assert test_x.sum(1).tolist() == [len(recording) for recording in recordings[0]]
    model = RidgeClassifier(100.0).fit(train_x, train_y)
    assert model.score(test_x, test_y) >= 0.95
