"""Records of a run for TensorBoard."""

import pytest

from sigprop_snn.errors import SigpropError
from sigprop_snn.training import RunFolder, TrainConfig, resume, train
from sigprop_snn.training.tensorboard import scalars

SMALL = {
    "epochs": 3, "steps": 4, "batch_size": 20, "train_samples": 40, "test_samples": 20,
    "device": "cpu", "tensorboard": True,
}  # fmt: skip


def quiet(_):
    """Ignore a line."""


def test_each_record_of_a_killed_and_resumed_run_appears_once(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, real = tmp_path / "run", RunFolder.save_checkpoint

    def save_until_the_second(folder, state):
        if state["epoch"] == 2:
            raise KeyboardInterrupt  # TensorBoard has the second epoch, the checkpoint does not
        real(folder, state)

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_until_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(TrainConfig("digits", out=out, **SMALL), say=quiet)
    monkeypatch.undo()
    run = resume(out, say=quiet)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    expected = [scalars(record) for record in run.history]
    assert set(events.Tags()["scalars"]) == set(expected[0])
    assert {"accuracy/test", "accuracy/block1", "loss/network"} < set(expected[0])
    for name in expected[0]:
        found = events.Scalars(name)
        assert [event.step for event in found] == [1, 2, 3], name
        assert [event.value for event in found] == pytest.approx([e[name] for e in expected])


def test_a_run_that_needs_tensorboard_does_not_start_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SigpropError, match=r"pip install tensorboard"):
        train(TrainConfig("digits", out=tmp_path / "run", **SMALL), say=quiet)
    assert not (tmp_path / "run").exists()
