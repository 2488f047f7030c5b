"""Reading a run folder, and refusing a damaged one."""

import json

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.training import TrainConfig, judge, load_run, resume, train
from sigprop_snn.training.checkpoint import (
    load_checkpoint,
    load_run_checkpoint,
    write_checkpoint,
)
from sigprop_snn.training.folder import RunFolder


def quiet(_):
    """Ignore a line."""


def test_load_run_returns_what_train_returned(small_run, content_of):
    before = content_of(small_run.folder.path)
    run = load_run(small_run.folder.path)
    assert run.history == small_run.history
    assert run.summary == small_run.summary
    assert run.epoch == 2
    assert not run.network.training
    for name, value in small_run.network.state_dict().items():
        assert torch.equal(value, run.network.state_dict()[name]), name
    # Its neurons are noisy, and draw the same noise again.
    found = judge(run.network, run.data.test, run.config.seed)
    assert found.accuracy == run.summary["test_accuracy"]
    assert [layer.spike_rate for layer in found.layers] == [
        layer["spike_rate"] for layer in run.summary["layers"]
    ]
    assert content_of(small_run.folder.path) == before


def test_a_finished_run_is_resumed_without_changes(run_copy, small_run, content_of):
    before = content_of(run_copy)
    assert resume(run_copy, say=quiet).summary == small_run.summary
    assert content_of(run_copy) == before


def test_a_configuration_repeats_a_run_exactly(small_run, tmp_path):
    config = RunFolder(small_run.folder.path).config()
    assert config.out is None
    again = train(TrainConfig(**vars(config) | {"out": tmp_path / "again"}), say=quiet)
    for name, value in small_run.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_a_run_is_read_while_it_goes_on(run_copy, monkeypatch):
    """The run writes an epoch's checkpoint, and then its line, while the reader is at work."""
    folder = RunFolder(run_copy)
    whole = folder.metrics()
    folder.write_metrics(whole[:1])

    def read_slowly(path):
        checkpoint = load_run_checkpoint(path)
        folder.write_metrics(whole)
        checkpoint["history"] = checkpoint["history"][:1]
        return checkpoint

    monkeypatch.setattr("sigprop_snn.training.folder.load_run_checkpoint", read_slowly)
    assert len(folder.load()[1]["history"]) == 1


def test_one_process_at_a_time_writes_a_run(run_copy):
    with RunFolder(run_copy).locked(), pytest.raises(SigpropError, match=r"run folder .*run'"):
        resume(run_copy, say=quiet)
    resume(run_copy, say=quiet)


def test_files_that_a_killed_process_left_are_deleted(run_copy):
    begun = run_copy / ".checkpoint.pt.x1y2z3"
    begun.write_bytes(b"half")
    resume(run_copy, say=quiet)
    assert not begun.exists()


def edit_json(name, **changes):
    def edit(run):
        content = json.loads((run / name).read_text()) | changes
        (run / name).write_text(json.dumps(content))

    return edit


def edit_checkpoint(change):
    def edit(run):
        state = load_checkpoint(run / "checkpoint.pt")
        change(state)
        write_checkpoint(run / "checkpoint.pt", state)

    return edit


def edit_text(name, change):
    def edit(run):
        (run / name).write_text(change((run / name).read_text()))

    return edit


def other_network(state):
    state["network"]["blocks.0.synapse.weight"] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.json").unlink(), r"/run'"),
        (edit_text("config.json", lambda text: text[:-20]), r"config.json'"),
        (edit_json("config.json", epocs=3), "config.json'.*'epocs'.*'epochs'"),
        (edit_json("config.json", epochs="3"), "config.json'.*epochs is '3'"),
        (edit_json("config.json", rule="volts"), "rule 'volts'"),
        (edit_json("config.json", epochs=1), r"epochs is 1, .* 2; expected 2"),
        (edit_json("config.json", seed=1), r"config.json'.* 1 for seed.* 0;"),
        (edit_text("metrics.jsonl", lambda text: text[:-9]), "metrics.jsonl': line 2"),
        (edit_text("metrics.jsonl", lambda text: text + text), "line 3 of .*metrics.jsonl'"),
        (
            edit_text("metrics.jsonl", lambda text: text.replace('"epoch": 2', '"epoch": 3')),
            "line 2 of .*metrics.jsonl'",
        ),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe"), "metrics.jsonl'"),
        (edit_text("summary.json", lambda _: "[]"), "summary.json'.*'test_accuracy'"),
        (edit_checkpoint(lambda state: state.pop("history")), "checkpoint.pt'.*'history'"),
        (edit_checkpoint(lambda state: state.update(format=9)), "checkpoint.pt'.*9.*1"),
        (edit_checkpoint(lambda state: state.update(epoch=1)), "checkpoint.pt'.*epoch 1"),
        (edit_checkpoint(lambda state: state.update(data={})), "data .*checkpoint.pt'.*{}"),
        (edit_checkpoint(lambda state: state.update(shape=[1])), r"shape .*checkpoint.pt'.*\[1\]"),
        (edit_checkpoint(other_network), "checkpoint.pt'.*size mismatch"),
        (edit_checkpoint(lambda state: state.update(optimizers={})), "checkpoint.pt'.*block1"),
        (edit_checkpoint(lambda state: state.update(random={})), "checkpoint.pt'.*torch"),
        (edit_checkpoint(lambda state: state.update(tally={"x": 1})), "checkpoint.pt'.*'x'"),
    ],
)
def test_a_damaged_run_is_refused_and_left_alone(run_copy, content_of, damage, message):
    damage(run_copy)
    before = content_of(run_copy)
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=message):
            attempt()
        assert content_of(run_copy) == before


def test_a_run_with_a_lost_checkpoint_is_refused(run_copy, content_of):
    (run_copy / "checkpoint.pt").unlink()
    before = content_of(run_copy)
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=r"metrics.jsonl.* no checkpoint.pt"):
            attempt()
    assert content_of(run_copy) == before


def test_load_run_needs_a_checkpoint(run_copy):
    for path in run_copy.iterdir():
        if path.name != "config.json":
            path.unlink()
    with pytest.raises(SigpropError, match=r"checkpoint.pt.*sigprop-snn resume"):
        load_run(run_copy)


def test_a_run_made_on_a_gpu_is_read_on_a_cpu(run_copy):
    edit_json("config.json", device="cuda")(run_copy)
    assert load_run(run_copy, device="cpu").config.device == "cpu"
    assert resume(run_copy, say=quiet, device="cpu").config.device == "cpu"


def test_a_run_on_a_device_that_does_not_exist_is_refused_by_its_name(run_copy):
    edit_json("config.json", device="gpu")(run_copy)
    with pytest.raises(SigpropError, match="device 'gpu'"):
        resume(run_copy, say=quiet)
    assert load_run(run_copy, device="cpu").config.device == "cpu"


class Hostile:
    """A pickle that makes a file when it is loaded."""

    def __reduce__(self):
        return (exec, ("open('owned', 'w').close()",))


def test_code_in_a_checkpoint_with_a_right_checksum_never_runs(run_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = load_checkpoint(run_copy / "checkpoint.pt")
    write_checkpoint(run_copy / "checkpoint.pt", state | {"history": Hostile()})
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=r"checkpoint.pt'.*UnpicklingError"):
            attempt()
    assert not (tmp_path / "owned").exists()


def test_another_torch_or_number_of_threads_is_reported(run_copy):
    edit_checkpoint(lambda state: state.update(made_with={"torch": "1.0", "threads": 64}))(run_copy)
    said = []
    resume(run_copy, say=said.append)
    assert any("64 threads of torch 1.0" in line for line in said)
