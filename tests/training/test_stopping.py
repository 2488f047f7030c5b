"""A signal saves the run and stops it; resumed, the run ends in the same weights."""

import os
import shlex
import signal

import pytest
import torch

from sigprop_snn.errors import RunStoppedError
from sigprop_snn.training import TrainConfig, resume, train
from sigprop_snn.training.stopping import StopAskedError, stop_on_signals

SMALL = {
    "neuron": "lif-noise",
    "epochs": 2,
    "steps": 4,
    "batch_size": 20,
    "train_samples": 60,
    "test_samples": 40,
    "device": "cpu",
}
LAYERS = 3


def quiet(_):
    """Ignore a line."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(TrainConfig("digits", out=out, **SMALL), say=quiet)


def assert_resumed_alike(path, undisturbed):
    resumed = resume(path, say=quiet)
    for name, value in undisturbed.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert [r["test_accuracy"] for r in resumed.history] == [
        r["test_accuracy"] for r in undisturbed.history
    ]


INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    ("number", "moment", "where"),
    [
        (INT, {"update": 1}, "in epoch 1 of 2, after 1 of 3 batches"),
        (TERM, {"update": 2 * LAYERS}, "in epoch 1 of 2, after 2 of 3 batches"),
        (INT, {"update": 3 * LAYERS}, "in epoch 1 of 2, after 3 of 3 batches"),
        (TERM, {"judged": 1}, "in epoch 1 of 2, after 3 of 3 batches"),
        (INT, {"judged": 2}, "in epoch 2 of 2, after 0 of 3 batches"),
        (INT, {"update": 5 * LAYERS}, "in epoch 2 of 2, after 2 of 3 batches"),
    ],
)
def test_a_signal_saves_the_run_and_stops_it(
    tmp_path, monkeypatch, undisturbed, send_at, number, moment, where
):
    before = signal.getsignal(number)
    out = tmp_path / "my run"
    with pytest.raises(RunStoppedError) as stopped:
        send_at(number, **moment)
        train(TrainConfig("digits", out=out, **SMALL), say=quiet, catch_signals=True)
    monkeypatch.undo()
    assert stopped.value.number == number
    assert where in str(stopped.value)
    assert str(stopped.value).endswith(f"sigprop-snn resume {shlex.quote(str(out))}")
    assert signal.getsignal(number) is before
    assert_resumed_alike(out, undisturbed)


def test_a_signal_during_the_last_evaluation_lets_the_run_end(tmp_path, undisturbed, send_at):
    send_at(signal.SIGTERM, judged=4)
    out = tmp_path / "run"
    trained = train(TrainConfig("digits", out=out, **SMALL), say=quiet, catch_signals=True)
    assert len(trained.history) == 2
    assert (out / "summary.json").exists()


def test_the_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(StopAskedError):
        list(stop.watch([1]))


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_catch_signals_ctrl_c_interrupts_and_the_last_checkpoint_stays(
    tmp_path, monkeypatch, undisturbed, send_at
):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        send_at(signal.SIGINT, update=4 * LAYERS)
        train(TrainConfig("digits", out=out, **SMALL), say=quiet)
    monkeypatch.undo()
    assert_resumed_alike(out, undisturbed)
