"""Which batches a CUDA graph learns from, and that a run with one is a run like any other."""

import json
import signal

import pytest
import torch

from sigprop_snn.errors import RunStoppedError
from sigprop_snn.training import (
    TrainConfig,
    TrainingRun,
    graph_choice,
    load_checkpoint,
    resume,
    train,
)
from sigprop_snn.training.graph_choice import Learner, graph_note, why_no_graph

SMALL = {
    "network": "conv", "epochs": 2, "steps": 4, "batch_size": 20, "train_samples": 70,
    "test_samples": 20, "device": "cpu",
}  # fmt: skip
PLAIN = (str, int, float, bool, type(None), torch.Tensor)


def quiet(_):
    """Ignore a line."""


def new_run(**settings):
    return TrainingRun.new(TrainConfig("digits", **{**SMALL, **settings}).resolved())


@pytest.fixture
def graphs(monkeypatch):
    """Treat the CPU as a device with graphs; a stand-in notes the batch sizes and learns."""
    sizes = []

    class StandIn:
        def __init__(self, network, optimizers, *, precision):
            self.network, self.optimizers = network, optimizers
            sizes.append(precision)

        def __call__(self, inputs, labels):
            sizes.append(len(labels))
            return self.network.learn(inputs, labels, self.optimizers)

    monkeypatch.setattr(graph_choice, "GRAPH_DEVICES", ("cpu",))
    monkeypatch.setattr(graph_choice, "GraphedStep", StandIn)
    return sizes


@pytest.mark.parametrize("settings", [{}, {"rule": "surrogate"}, {"optimizer": "adamw"}])
def test_signal_propagation_by_fused_adam_has_a_graph(graphs, settings):
    run = new_run(**settings)
    assert why_no_graph(run) is None
    assert "replays" in graph_note(run)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"graph": False}, "graph"),
        ({"update": "every-2"}, "every-2"),
        ({"rule": "backpropagation"}, "Backpropagation"),
        ({"rule": "local-readout"}, "LocalReadout"),
        ({"neuron": "alif"}, "block1"),
        ({"optimizer": "sgd"}, "SGD"),
        ({"optimizer": "nadam"}, "NAdam"),
    ],
)
def test_other_runs_have_no_graph_and_say_why(graphs, settings, reason):
    run = new_run(**settings)
    assert reason in why_no_graph(run)
    assert reason in graph_note(run)
    Learner(run)
    assert graphs == []


def test_a_hook_needs_python_at_every_step(graphs):
    run = new_run()
    run.network.blocks[1].neuron.register_forward_hook(lambda *_: None)
    assert "blocks.1.neuron" in why_no_graph(run)


def test_a_device_without_graphs_has_none_and_says_nothing():
    run = new_run()
    assert "cpu" in why_no_graph(run)
    assert graph_note(run) is None


def test_the_graph_is_for_the_shape_that_comes_twice_and_others_are_learned_without(graphs):
    run = new_run()
    learner = Learner(run)
    for x, y in [*run.data.train, *run.data.train]:  # 20, 20, 20 and 10 samples
        learner.learn(x, y)
    assert graphs == [None, 20, 20, 20, 20, 20]
    del graphs[1:]
    learner = Learner(run)
    *_, (x, y) = run.data.train
    learner.learn(x, y)  # the rest of an epoch, after a resume
    for x, y in run.data.train:
        learner.learn(x, y)
    assert graphs[-2:] == [20, 20]


def test_the_precision_of_the_run_is_that_of_the_graph(graphs):
    Learner(new_run(precision="bf16"))
    assert graphs == [torch.bfloat16]


def assert_plain(value, place="checkpoint"):
    """Assert that a tree holds plain values and tensors."""
    if isinstance(value, dict):
        for key, child in value.items():
            assert_plain(child, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for child in value:
            assert_plain(child, place)
    else:
        assert type(value) in PLAIN, place


@pytest.mark.parametrize("resumed_with_graph", [True, False])
def test_a_run_with_a_graph_stops_and_goes_on_to_the_bits_of_one_without(
    graphs, tmp_path, send_at, monkeypatch, resumed_with_graph
):
    whole = train(TrainConfig("digits", **SMALL, graph=False, out=tmp_path / "whole"), say=quiet)
    assert graphs == []
    said = []
    send_at(signal.SIGTERM, update=17)
    with pytest.raises(RunStoppedError):
        train(TrainConfig("digits", **SMALL, out=tmp_path / "run"), say=said.append,
              catch_signals=True)  # fmt: skip
    assert any("replays" in line for line in said)
    assert 20 in graphs and 10 not in graphs
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert_plain(checkpoint)
    for layer in checkpoint["optimizers"].values():
        for group in layer["param_groups"]:
            assert type(group["lr"]) is float
            assert group["capturable"] is False
    graphs.clear()
    if not resumed_with_graph:
        monkeypatch.setattr(graph_choice, "GRAPH_DEVICES", ("cuda",))
    resumed = resume(tmp_path / "run", say=quiet)
    assert bool(graphs) is resumed_with_graph
    expected = whole.network.state_dict()
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_config_of_an_older_run_has_a_graph(run_copy):
    path = run_copy / "config.json"
    config = json.loads(path.read_text())
    del config["graph"]
    path.write_text(json.dumps(config))
    assert resume(run_copy, say=quiet).config.graph is True


def assert_near(network, other, fraction):
    """Assert that weights differ by a small fraction of their size.

    Adam moves a weight with almost no gradient by the sign of its last bits.
    """
    for one, expected in zip(network.parameters(), other.parameters(), strict=True):
        size = expected.square().mean().sqrt().clamp(min=0.1)
        assert (one - expected).square().mean().sqrt() <= fraction * size


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@needs_gpu
@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_gpu_learns_the_same_with_and_without_a_graph(tmp_path, network):
    settings = {**SMALL, "network": network, "train_samples": 210, "device": "cuda"}
    found = {}
    for graph in (True, False):
        said = []
        config = TrainConfig("digits", **settings, graph=graph, out=tmp_path / str(graph))
        found[graph] = train(config, say=said.append)
        assert any(("replays" if graph else "graph is off") in line for line in said)
    assert_near(found[True].network, found[False].network, 0.05)
    losses = [run.history[-1]["loss"] for run in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@needs_gpu
@pytest.mark.parametrize(("first", "then"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_moves_between_a_gpu_and_a_cpu(tmp_path, send_at, first, then):
    settings = {**SMALL, "train_samples": 210}
    whole = train(TrainConfig("digits", **settings, out=tmp_path / "whole"), say=quiet)
    out = tmp_path / "run"
    send_at(signal.SIGTERM, judged=1)
    with pytest.raises(RunStoppedError):
        train(TrainConfig("digits", **{**settings, "device": first}, out=out), say=quiet,
              catch_signals=True)  # fmt: skip
    moved = resume(out, say=quiet, device=then)
    assert len(moved.history) == 2
    assert_near(moved.network.cpu(), whole.network, 0.1)
    assert moved.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=0.05)
