"""A run folder read back: what it gives, and what is refused."""

import json

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.training import TrainConfig, judge, load_run, resume, train
from sigprop_snn.training.checkpoint import load_checkpoint, write_checkpoint
from sigprop_snn.training.folder import RunFolder


def quiet(_):
    """Says nothing."""


def test_a_run_read_back_is_the_one_that_was_trained(small_run, content_of):
    before = content_of(small_run.folder.path)
    run = load_run(small_run.folder.path)
    assert run.history == small_run.history
    assert run.summary == small_run.summary
    assert run.epoch == 2
    assert not run.network.training
    for name, value in small_run.network.state_dict().items():
        assert torch.equal(value, run.network.state_dict()[name]), name
    # Its neurons are noisy: judged again, they draw the same noise.
    found = judge(run.network, run.data.test, run.config.seed)
    assert found.accuracy == run.summary["test_accuracy"]
    assert [layer.spike_rate for layer in found.layers] == [
        layer["spike_rate"] for layer in run.summary["layers"]
    ]
    assert content_of(small_run.folder.path) == before


def test_a_finished_run_is_resumed_to_itself(run_copy, small_run, content_of):
    before = content_of(run_copy)
    assert resume(run_copy, say=quiet).summary == small_run.summary
    assert content_of(run_copy) == before


def test_a_configuration_repeats_a_run_exactly(small_run, tmp_path):
    config = RunFolder(small_run.folder.path).config()
    assert config.out is None
    again = train(TrainConfig(**vars(config) | {"out": tmp_path / "again"}), say=quiet)
    for name, value in small_run.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_one_process_at_a_time_writes_a_run(run_copy):
    with RunFolder(run_copy).locked(), pytest.raises(SigpropError, match="another process"):
        resume(run_copy, say=quiet)
    resume(run_copy, say=quiet)


def test_what_a_killed_process_had_begun_to_write_is_swept_away(run_copy):
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
        (lambda run: (run / "config.json").unlink(), r"no run at '.*run'; expected a folder"),
        (edit_text("config.json", lambda text: text[:-20]), r"config.json' is damaged"),
        (edit_json("config.json", epocs=3), "unknown key in config file .*Did you mean 'epochs'"),
        (edit_json("config.json", epochs="3"), "epochs is '3'; expected a whole number"),
        (edit_json("config.json", rule="volts"), "unknown rule 'volts'"),
        (edit_json("config.json", epochs=9), r"config.json' says epochs is 9, but .* with 2"),
        (edit_json("config.json", seed=1), "says seed is 1, but"),
        (edit_text("metrics.jsonl", lambda text: text[:-9]), "metrics.jsonl': line 2 is damaged"),
        (edit_text("metrics.jsonl", lambda text: text + text), "line 3 of .* is not what the"),
        (
            edit_text("metrics.jsonl", lambda text: text.replace('"epoch": 2', '"epoch": 3')),
            "line 2 of .* is not what the checkpoint",
        ),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe"), "metrics .* can't be read"),
        (edit_text("summary.json", lambda _: "[]"), "summary.json' holds no test accuracy"),
        (edit_checkpoint(lambda state: state.pop("history")), "has NoneType for 'history'"),
        (edit_checkpoint(lambda state: state.update(format=9)), "is of format 9; expected 1"),
        (edit_checkpoint(lambda state: state.update(epoch=1)), "stands at epoch 1"),
        (edit_checkpoint(lambda state: state.update(data={})), "have another data"),
        (edit_checkpoint(lambda state: state.update(shape=[1])), r"another shape .*\(\[1\]\)"),
        (edit_checkpoint(other_network), "does not fit the run .*size mismatch"),
        (edit_checkpoint(lambda state: state.update(optimizers={})), "does not fit the run"),
        (edit_checkpoint(lambda state: state.update(random={})), "does not fit the run"),
        (edit_checkpoint(lambda state: state.update(tally={"x": 1})), "does not fit the run"),
    ],
)
def test_what_does_not_fit_is_refused_and_left_alone(run_copy, content_of, damage, message):
    damage(run_copy)
    before = content_of(run_copy)
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=message):
            attempt()
        assert content_of(run_copy) == before


def test_a_lost_checkpoint_is_not_begun_anew(run_copy, content_of):
    (run_copy / "checkpoint.pt").unlink()
    before = content_of(run_copy)
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=r"holds metrics.jsonl but no checkpoint.pt"):
            attempt()
    assert content_of(run_copy) == before


def test_a_run_without_a_checkpoint_yet_can_be_resumed_but_not_judged(run_copy):
    for path in run_copy.iterdir():
        if path.name != "config.json":
            path.unlink()
    with pytest.raises(SigpropError, match=r"no checkpoint.pt yet.*sigprop-snn resume"):
        load_run(run_copy)


class Hostile:
    """A pickle that makes a file where it is loaded."""

    def __reduce__(self):
        return (exec, ("open('owned', 'w').close()",))


def test_a_hostile_checkpoint_is_refused_whatever_its_checksum(run_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = load_checkpoint(run_copy / "checkpoint.pt")
    write_checkpoint(run_copy / "checkpoint.pt", state | {"history": Hostile()})
    for attempt in (lambda: resume(run_copy, say=quiet), lambda: load_run(run_copy)):
        with pytest.raises(SigpropError, match=r"checkpoint.pt' can't be read \(UnpicklingError"):
            attempt()
    assert not (tmp_path / "owned").exists()


def test_other_threads_or_another_torch_are_told(run_copy):
    edit_checkpoint(lambda state: state.update(made_with={"torch": "1.0", "threads": 64}))(run_copy)
    said = []
    resume(run_copy, say=said.append)
    assert any("begun with 64 threads of torch 1.0" in line for line in said)
