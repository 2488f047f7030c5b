"""Settings of a run that decide how events become frames."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sigprop_snn.command_line.cli import main
from sigprop_snn.data import Frames
from sigprop_snn.errors import SigpropError
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import load_run, resume, train


@pytest.fixture
def root(tmp_path):
    """Recordings in text, in seconds, from a sensor of 40 x 20."""
    for split in ("train", "test"):
        for label, name in enumerate(("left", "right")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                random = np.random.default_rng([label, number, len(split)])
                t = np.sort(random.integers(0, 50_000, 200)) / 1e6
                x, y, p = random.integers(0, 20, 200), random.integers(0, 20, 200), t > 0.02
                table = np.stack([t, x + 20 * label, y, p], 1)
                np.savetxt(tmp_path / split / name / f"{number}.txt", table, fmt="%.6f")
    return tmp_path


FLAGS = {
    "size": "10x5",
    "bin_width": 10_000,
    "denoise": 20_000,
    "merge_polarities": True,
    "sensor": "48x32",
    "event_order": "txyp",
    "time_unit": "s",
}


def test_settings_become_frames():
    assert TrainConfig("eventfolder", **FLAGS).frames() == Frames(
        size=(10, 5),
        bin_width=10_000,
        denoise=20_000,
        merge_polarities=True,
        sensor=(48, 32),
        order="txyp",
        unit="s",
    )
    assert TrainConfig("eventfolder").frames() is None


@pytest.mark.parametrize(
    ("frames", "end"),
    [
        (Frames(), None),
        (Frames(start=50, end=900), 900),
        (Frames(start=50, bin_width=100), 450),
    ],
)
def test_the_last_step_ends_where_the_settings_say(frames, end):
    assert frames.end_of(4) == end


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        ("digits", {"size": "4x4"}, r"frames is given for 'digits' \(size\)"),
        ("digit-events", {"sensor": "16x16"}, r"sensor is \(16, 16\) for 'digit-events'"),
        ("nmnist", {"time_unit": "s"}, "unit is 's' for 'nmnist'"),
        ("eventfolder", {"size": "128"}, "size is '128'; expected width and height"),
        ("eventfolder", {"sensor": "0x5"}, "sensor is '0x5'"),
        ("eventfolder", {"bin_width": 0}, "bin_width is 0"),
        ("eventfolder", {"denoise": -1}, "denoise is -1"),
        ("eventfolder", {"event_order": "txy"}, "order is 'txy'"),
        ("eventfolder", {"time_unit": "h"}, "unit.*'h'"),
        ("eventfolder", {"bin_width": "fast"}, "bin_width is 'fast'"),
    ],
)
def test_settings_that_can_not_be_used_are_refused_before_any_file_is_read(
    dataset, settings, message
):
    with pytest.raises(SigpropError, match=message):
        TrainConfig(dataset, **settings).resolved()


def test_a_run_keeps_its_frames_for_resume_and_evaluate(root, tmp_path):
    out = tmp_path / "run"
    flags = [
        word
        for name, value in FLAGS.items()
        for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
    ]
    words = ["train", "eventfolder", "--data-root", str(root), "--out", str(out), *flags]
    small = ["--network", "mlp", "--steps", "5", "--epochs", "1", "--batch-size", "4"]
    assert main([*words, *small]) == 0
    written = json.loads((out / "config.json").read_text())
    assert {name: written[name] for name in FLAGS} == FLAGS
    run = load_run(out)
    assert (run.data.shape, run.data.steps) == ((1, 5, 10), 5)
    assert resume(out, say=lambda _: None).data.shape == (1, 5, 10)
    assert main(["evaluate", str(out)]) == 0


def test_a_changed_test_sample_is_refused_by_evaluate(root, tmp_path):
    settings = TrainConfig(
        "eventfolder",
        network="mlp",
        steps=3,
        epochs=1,
        event_order="txyp",
        time_unit="s",
        data_root=root,
        out=tmp_path / "run",
    )
    train(settings, say=lambda _: None)
    file = root / "test" / "left" / "0.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1].replace("1.000000", "0.000000")]))
    with pytest.raises(SigpropError, match="the test samples of 'eventfolder' have changed"):
        load_run(tmp_path / "run")
