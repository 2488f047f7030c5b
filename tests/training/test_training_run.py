"""A training run, from its configuration to its folder."""

import json
import re

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import mlp
from sigprop_snn.training import (
    LocalOptimizers,
    TrainConfig,
    build_network,
    evaluate,
    load_checkpoint,
    train,
)
from sigprop_snn.training.folder import RunFolder, free_name

SMALL = {"epochs": 2, "train_samples": 120, "test_samples": 40}
SUMMARY = [
    "dataset",
    "rule",
    "network",
    "seed",
    "steps",
    "epochs",
    "train_samples",
    "test_samples",
    "test_accuracy",
    "seconds_per_epoch",
    "peak_memory_mb",
    "layers",
]


def quiet(_: str) -> None:
    """Ignore a line."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(TrainConfig("digits", out=out, **SMALL), say=quiet)


def test_the_run_folder_has_its_files(trained):
    path = trained.folder.path
    summary = json.loads((path / "summary.json").read_text())
    assert list(summary) == SUMMARY
    assert summary["train_samples"] == 120
    assert 0 <= summary["test_accuracy"] <= 1
    assert [layer["name"] for layer in summary["layers"]] == ["block1", "block2"]
    assert set(summary["layers"][0]) == {"name", "accuracy", "spike_rate", "dead_fraction"}
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines == trained.history
    assert json.loads((path / "config.json").read_text())["steps"] == 8


def test_the_checkpoint_gives_the_network_back(trained):
    state = load_checkpoint(trained.folder.path / "checkpoint.pt")
    config = TrainConfig("digits", **SMALL).resolved()
    network = build_network(config, tuple(state["shape"]), len(state["classes"]))
    network.load_state_dict(state["network"])
    inputs, _ = next(iter(trained.data.test))
    network.eval()
    assert torch.equal(network(inputs), trained.network(inputs))


def test_a_seed_makes_the_same_run_twice_and_another_seed_another(tmp_path, trained):
    torch.manual_seed(1234)  # must not matter
    again = train(TrainConfig("digits", out=tmp_path / "again", **SMALL), say=quiet)
    other = train(TrainConfig("digits", out=tmp_path / "other", seed=1, **SMALL), say=quiet)
    for name, weight in trained.network.state_dict().items():
        assert torch.equal(weight, again.network.state_dict()[name]), name
    first = "blocks.1.synapse.weight"
    assert not torch.equal(trained.network.state_dict()[first], other.network.state_dict()[first])


def test_the_default_is_adam_falling_linearly_to_two_percent(trained):
    config = trained.config
    network = build_network(config, trained.data.shape, len(trained.data.classes))
    adams = {
        layer: torch.optim.Adam(weights, lr=config.learning_rate, fused=True)
        for layer, weights in network.local_parameters().items()
    }
    batches, number = trained.data.train, 0
    for epoch in range(config.epochs):
        batches.set_epoch(epoch)
        for inputs, labels in batches:
            done = number / (config.epochs * len(batches))
            for adam in adams.values():
                adam.param_groups[0]["lr"] = config.learning_rate * (1 - (1 - 0.02) * done)
            network.train()
            network.learn(inputs, labels)
            for adam in adams.values():
                adam.step()
                adam.zero_grad()
            number += 1
    for name, value in network.state_dict().items():
        assert torch.equal(value, trained.network.state_dict()[name]), name


def test_updating_layer_by_layer_equals_one_optimizer_over_all():
    inputs, labels = torch.rand(1, 16, 20).expand(5, 16, 20), torch.arange(16) % 4
    results = []
    for local in (True, False):
        torch.manual_seed(0)
        network = mlp((20,), 4, hidden=(12, 10))
        if local:
            optimizers = LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
            network.learn(inputs, labels, optimizers.step)
            assert all(weight.grad is None for weight in network.parameters())
        else:
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            network.learn(inputs, labels)
            optimizer.step()
        results.append(network.state_dict())
    for name, weight in results[0].items():
        torch.testing.assert_close(weight, results[1][name])


def test_evaluation_without_a_batch_is_refused():
    network = mlp((6,), 3, hidden=(5,)).train()
    with pytest.raises(SigpropError, match="batches is empty"):
        evaluate(network, [])
    assert network.training


def test_an_evaluation_that_fails_leaves_the_network_in_training_mode():
    network = mlp((6,), 3, hidden=(5,)).train()
    with pytest.raises(SigpropError):
        evaluate(network, [(torch.rand(4, 2, 7), torch.zeros(2, dtype=torch.long))])
    assert network.training


def test_evaluation_counts_by_hand():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5, 4)).train()
    batches = [(torch.rand(7, size, 6), torch.arange(size) % 3) for size in (4, 3)]
    found = evaluate(network, batches)
    assert network.training
    network.eval()
    right, spikes, ever = 0, 0.0, torch.zeros(5, dtype=torch.bool)
    for inputs, labels in batches:
        right += int((network(inputs).argmax(1) == labels).sum())
        first = next(network.stages(inputs)).response.run.spike[:, : len(labels)]
        spikes += float(first.sum())
        ever |= first.sum((0, 1)) > 0
    assert found.accuracy == pytest.approx(right / 7)
    assert found.layers[0].spike_rate == pytest.approx(spikes / (7 * 7 * 5))
    assert found.layers[0].dead_fraction == pytest.approx(float((~ever).float().mean()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "digit"}, "'digit'.*'digits'"),
        ({"rule": "volts"}, "rule 'volts'.*'voltage'"),
        ({"network": "mpl"}, "network 'mpl'.*'mlp'"),
        ({"neuron": "lfi"}, "neuron 'lfi'"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"train_samples": 10**6}, "train_samples is 1000000"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing(tmp_path, settings, message):
    out = tmp_path / "run"
    with pytest.raises(SigpropError, match=message):
        train(TrainConfig(**{"dataset": "digits", "out": out} | settings), say=quiet)
    assert not out.exists()


def test_a_folder_that_is_not_empty_is_not_written_to(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SigpropError, match=re.escape(repr(str(tmp_path)))):
        train(TrainConfig("digits", out=tmp_path, **SMALL), say=quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SigpropError, match=r"file/run'.*Not a directory"):
        RunFolder.create(tmp_path / "file" / "run")


def test_a_run_that_fails_in_its_first_epoch_is_deleted(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalOptimizers, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        train(TrainConfig("digits", out=tmp_path / "run", **SMALL), say=quiet)
    assert not (tmp_path / "run").exists()


class Hostile:
    """A pickle that makes a file when it is loaded."""

    def __reduce__(self):
        return (exec, ("open('owned', 'w').close()",))


def test_a_hostile_or_damaged_checkpoint_is_refused(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    hostile = tmp_path / "hostile.pt"
    torch.save({"network": Hostile()}, hostile)
    with pytest.raises(SigpropError, match=r"hostile\.pt"):
        load_checkpoint(hostile)
    assert not (tmp_path / "owned").exists()
    whole = (trained.folder.path / "checkpoint.pt").read_bytes()
    cut = tmp_path / "cut.pt"
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(SigpropError, match=r"cut\.pt"):
            load_checkpoint(cut)
    with pytest.raises(SigpropError, match=r"absent\.pt"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_free_name_is_new(tmp_path):
    assert free_name(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert free_name(tmp_path, "run") == tmp_path / "run-3"
