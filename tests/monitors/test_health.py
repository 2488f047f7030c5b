"""Every problem is found and said once, and a healthy network has none."""

import warnings

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import (
    HealthCheck,
    HealthWarning,
    Limits,
    examine,
    health,
    mean_input_shares,
)
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    correct,
    vgg,
)
from sigprop_snn.neurons import IF, LIF, Rate
from sigprop_snn.training import LocalOptimizers, TrainConfig, evaluate, train
from sigprop_snn.training.building import build_network, load_data

CLASSES = ("zero", "one", "two")
LABELS = torch.arange(6) % 3


def batch(steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(steps, 6, 8, generator=torch.Generator().manual_seed(0)) + 0.1, LABELS


def network(current: float, neuron=None, readout: bool = True) -> Network:
    """Two blocks; a constant current drives the second, with small weights unless it is 0."""
    torch.manual_seed(0)
    second = nn.Linear(10, 8)
    nn.init.constant_(second.bias, current)
    nn.init.uniform_(second.weight, -0.01, 0.01) if current else nn.init.zeros_(second.weight)
    first = nn.Linear(8, 10)
    nn.init.uniform_(first.weight, 0.0, 0.2)
    return Network(
        ProjectedContext(3, (10,)),
        [Block(first, LIF()), Block(second, neuron or LIF())],
        Readout(8, 3) if readout else None,
    )


def problems(net: Network, **settings) -> dict[tuple[str, str], float]:
    found = examine(net, [batch(), batch()], **settings)
    assert all(finding.text.startswith(f"{finding.layer}: ") for finding in found)
    return {(finding.problem, finding.layer): finding.value for finding in found}


def test_a_dead_layer_makes_the_output_after_it_silent():
    assert problems(network(0.0)) == {
        ("dead", "block2"): 1.0,
        ("silent", "block2"): 1.0,
        ("silent", "readout"): 1.0,
    }


def test_a_silent_output_scores_nothing():
    net = network(0.0, readout=False)
    inputs, labels = batch()
    assert int(net(inputs).argmax(1).eq(labels).sum()) > 0  # by position it would be class 0
    assert int(correct(net(inputs), labels).sum()) == 0
    assert evaluate(net, [batch()]).accuracy == 0.0


def test_a_readout_that_reads_a_firing_block_is_not_silent_below_a_silent_one():
    net = network(0.0)
    net.readout = Readout(18, 3, sources=2)
    found = problems(net)
    assert ("silent", "block2") in found
    assert ("silent", "readout") not in found


def test_a_readout_without_input_spikes_is_silent_with_any_bias():
    net = network(0.05)  # below the threshold: voltages to compare, but no spike
    found = problems(net, limits=Limits(dead=1.1))
    assert found == {("silent", "readout"): 1.0}


def test_a_layer_that_fires_at_every_step_is_saturated():
    found = problems(network(1.5, IF()))
    assert found == {("saturated", "block2"): 1.0}


def test_a_large_voltage_is_exploding():
    found = problems(network(-5000.0, IF(), readout=False), limits=Limits(dead=1.1, silent=1.1))
    assert list(found) == [("exploding", "block2")]
    # -5000 a step: the mean of -5000, ..., -25000, and 1 to the threshold
    assert found[("exploding", "block2")] == pytest.approx(15001, rel=1e-4)


def test_nan_is_the_only_finding_of_its_layer():
    net = network(1.0)
    nn.init.constant_(net.blocks[1].synapse.bias, float("nan"))
    found = problems(net)
    assert found[("not finite", "block2")] > 0
    assert ("dead", "block2") not in found


def test_classes_without_a_label_are_found():
    found = problems(network(0.3), classes=CLASSES, labels=torch.tensor([0, 0, 2]))
    assert found == {("absent labels", "data"): 1.0}
    (finding,) = examine(network(0.3), [], classes=CLASSES, labels=torch.tensor([0, 2]))
    assert "1 of 3" in finding.text
    assert "(one)" in finding.text
    with pytest.raises(SigpropError, match="batches are empty"):
        examine(network(0.3), [])


def test_a_map_is_dead_if_it_is_silent_at_all_positions():
    def maps(bias: list[float]) -> Network:
        conv = nn.Conv2d(1, 4, 1)
        nn.init.zeros_(conv.weight)
        conv.bias.data = torch.tensor(bias)
        return Network(ProjectedContext(3, (4, 4, 4)), [Block(conv, LIF())])

    inputs = torch.rand(5, 6, 1, 4, 4)
    limits = Limits(silent=1.1)
    assert not examine(maps([0.5, 0.0, 0.0, 0.0]), [(inputs, LABELS)], limits=limits)
    (finding,) = examine(maps([0.0] * 4), [(inputs, LABELS)], limits=limits)
    assert "100 % of the maps" in finding.text
    assert "6 samples" in finding.text
    # A map with one firing position is not dead.
    corner = maps([0.0] * 4)
    nn.init.ones_(corner.blocks[0].synapse.weight)
    spot = torch.zeros(5, 6, 1, 4, 4)
    spot[:, :, :, 0, 0] = 1.0
    assert not examine(corner, [(spot, LABELS)], limits=limits)


def test_each_problem_is_said_once_as_a_line_or_as_a_warning():
    lines: list[str] = []
    net = network(0.0)
    check = HealthCheck(net, say=lines.append)
    for _ in range(3):
        for stage in net.stages(batch()[0]):
            check.watch(stage, LABELS)
        assert len(check.report()) == 3  # found every time
    assert len(lines) == len(set(lines)) == 3  # said once
    assert check.report() == []  # nothing was watched since
    warned = HealthCheck(net)
    for stage in net.stages(batch()[0]):
        warned.watch(stage, LABELS)
    with pytest.warns(HealthWarning) as caught:
        warned.report()
    assert [str(warning.message) for warning in caught] == lines


def test_a_graded_activity_can_be_dead_but_not_saturated():
    assert problems(network(5.0, Rate())) == {}
    found = problems(network(-5.0, Rate()))
    assert set(found) == {("dead", "block2"), ("silent", "block2"), ("silent", "readout")}


def test_a_layer_without_scores_is_still_watched():
    net = network(1.5, IF())
    check = HealthCheck(net, say=lambda _: None)
    for stage in net.stages(batch()[0]):
        if stage.response is not None:
            check.watch(stage._replace(scores=None), LABELS)
    assert [finding.problem for finding in check.report()] == ["saturated"]


def test_a_block_that_classifies_worse_than_the_one_below_adds_nothing():
    net = network(0.3)
    stages = [stage for stage in net.stages(batch()[0]) if stage.response is not None]

    limits = Limits(dead=1.1, silent=1.1)

    def watched(*correct: int, samples: int = 600, check: HealthCheck | None = None) -> list:
        check = check or HealthCheck(net, say=lambda _: None, limits=limits, patience=1)
        for stage, right in zip(stages, correct, strict=True):
            labels = torch.arange(samples) % 3
            scores = torch.nn.functional.one_hot((labels + (torch.arange(samples) >= right)) % 3, 3)
            check.watch(stage._replace(scores=scores.double()), labels)
        return check.report()

    (finding,) = watched(300, 240)
    assert (finding.problem, finding.layer) == ("no gain", "block2")
    assert finding.value == pytest.approx(0.1)
    assert "40 %" in finding.text and "50 %" in finding.text
    assert watched(300, 280) == []  # 3 points are within the noise of 600 samples
    assert watched(240, 300) == []
    assert watched(30, 24, samples=60) == []
    patient = HealthCheck(net, say=lambda _: None, limits=limits)
    history = [(300, 240), (300, 240), (300, 290), *[(300, 240)] * 3]
    assert [len(watched(*each, check=patient)) for each in history] == [0, 0, 0, 0, 0, 1]


def test_a_share_of_the_mean_input_that_grows_is_found_in_blocks_that_could_be_centred(
    monkeypatch,
):
    torch.manual_seed(0)
    x = torch.rand(2, 6, 1, 8, 8)
    shares = {}
    monkeypatch.setattr(health, "mean_input_shares", lambda *_: dict(shares))
    limits = Limits(dead=1.1, silent=1.1, drop=1.0)

    def watched(check: HealthCheck, **now: float) -> dict[str, float]:
        shares.clear()
        shares.update(now)
        for stage in net.stages(x):
            check.watch(stage, LABELS)
        return {each.layer: each.value for each in check.report()}

    net = vgg((1, 8, 8), 3, layers=(4, 4, 4), centred=False)
    at_once = HealthCheck(net, limits=limits, say=lambda _: None, patience=1, probe=(x, LABELS))
    assert watched(at_once, block1=0.9, block2=0.4, block3=0.6) == {"block3": 0.6}
    assert watched(at_once, block1=0.9, block2=0.6, block3=0.6) == {"block2": 0.6}
    assert watched(at_once, block2=0.5, block3=0.55) == {}
    said = []
    patient = HealthCheck(net, limits=limits, say=said.append, patience=2, probe=(x, LABELS))
    assert watched(patient, block3=0.6) == {}
    assert watched(patient, block3=1.25) == {"block3": 1.25}
    assert len(said) == 1
    assert said[0].startswith("block3: ") and "1.25" in said[0] and "centred=True" in said[0]
    without = HealthCheck(net, limits=limits, say=said.append, patience=1)
    assert watched(without, block3=1.25) == {}
    net = vgg((1, 8, 8), 3, layers=(4, 4, 4))  # centred
    centred = HealthCheck(net, limits=limits, say=said.append, patience=1, probe=(x, LABELS))
    assert watched(centred, block2=1.25, block3=1.25) == {}


def test_the_share_is_measured_on_the_first_batch():
    torch.manual_seed(0)
    x = torch.rand(2, 6, 1, 8, 8)
    net = vgg((1, 8, 8), 3, layers=(4, 4), centred=False).train()
    net.learn(x, LABELS)  # the normalisers observe
    net.zero_grad()
    limits = Limits(dead=1.1, silent=1.1, drop=1.0, mean_share=1e-9)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = examine(net, [(x, LABELS), (1 - x, LABELS)], limits=limits)
    (share,) = (finding for finding in found if finding.problem == "mean input")
    assert share.layer == "block2"
    assert share.value == pytest.approx(mean_input_shares(net, x, LABELS)["block2"])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


def test_training_mode_is_left_as_it_was():
    net = network(0.3).train()
    net.blocks[0].norm = RunningNorm(10)
    before = net.blocks[0].norm.batches.clone()
    examine(net, [batch()])
    assert net.training
    assert torch.equal(net.blocks[0].norm.batches, before)


@pytest.mark.parametrize(("name", "rule"), [("digits", "voltage"), ("digit-events", "surrogate")])
def test_a_healthy_run_has_no_finding_at_any_epoch(name, rule):
    config = TrainConfig(name, rule=rule, train_samples=200, test_samples=60).resolved()
    data = load_data(config)
    net = build_network(config, data.shape, len(data.classes))
    optimizers = LocalOptimizers(net, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", HealthWarning)
        check = HealthCheck(net, classes=data.classes, labels=data.train.labels)
        for _ in range(2):
            net.train()
            for inputs, labels in data.train:
                net.learn(inputs, labels, optimizers.step)
            net.eval()
            for inputs, labels in data.test:
                for stage in net.stages(inputs):
                    check.watch(stage, labels)
            assert check.report() == []


def test_training_says_each_problem_once_and_does_not_change_the_run(tmp_path):
    said: list[str] = []
    small = {"epochs": 2, "steps": 4, "train_samples": 6, "test_samples": 10}
    trained = train(TrainConfig("digits", out=tmp_path / "run", **small), say=said.append)
    (line,) = [line for line in said if line.startswith("data: ")]
    assert "4 of 10 classes" in line
    assert len(set(said)) == len(said)
    assert (
        evaluate(trained.network, trained.data.test).accuracy
        == (trained.history[-1]["test_accuracy"])
    )
