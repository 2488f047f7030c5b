"""A run takes data from outside: loaders and lists, with resume, callbacks and reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sigprop_snn.comparison import CompareConfig, compare
from sigprop_snn.data import load
from sigprop_snn.errors import RunStoppedError, SigpropError
from sigprop_snn.figures import draw_run
from sigprop_snn.report import write_report
from sigprop_snn.training import TrainConfig, evaluate, load_run, resume, train

SETTINGS = {"epochs": 2, "device": "cpu", "neuron": "lif-noise"}


class Bars(Dataset):
    """Pictures `[1, 6, 6]` with noise: class 0 has a row, class 1 a column."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        picture = 0.3 * torch.rand(1, 6, 6)  # drawn again each time, as an augmentation is
        if index % 2:
            picture[0, 2] += 1
        else:
            picture[0, :, 3] += 1
        return picture, index % 2


def in_time(samples):
    """Collate pictures to `[T, B, 1, 6, 6]`."""
    pictures, labels = zip(*samples, strict=True)
    return torch.stack(pictures).expand(3, -1, -1, -1, -1), torch.tensor(labels)


def loaders():
    return (
        DataLoader(Bars(40), batch_size=10, shuffle=True, collate_fn=in_time),
        DataLoader(Bars(20), batch_size=10, collate_fn=in_time),
    )


def batches(count=4, seed=0, classes=2):
    made = torch.Generator().manual_seed(seed)
    labels = torch.arange(8) % classes
    return [
        (torch.rand(3, 8, 5, generator=made) + labels[None, :, None], labels) for _ in range(count)
    ]


def quiet(_):
    """Ignore a line."""


def run_on(data, tmp_path, name="run", **settings):
    return train(TrainConfig("mine", out=tmp_path / name, **SETTINGS, **settings), quiet, data=data)


def assert_same_weights(one, other):
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def test_the_seed_of_a_run_is_that_of_its_loaders(tmp_path):
    def labels(seed, name):
        class Kept(list):
            def __getitem__(self, index):
                seen.append(index)
                return super().__getitem__(index)

        seen = []
        samples = Kept(zip(torch.rand(12, 3, 5), [0, 1] * 6, strict=True))

        def collate(batch):
            x, y = zip(*batch, strict=True)
            return torch.stack(x, 1), torch.tensor(y)

        loader = DataLoader(samples, 4, shuffle=True, collate_fn=collate)
        run_on((loader, batches(1)), tmp_path, name, seed=seed)
        return seen[12:]  # behind the first reading

    first = labels(0, "a")
    assert labels(0, "b") == first != labels(1, "c")


def test_a_loader_in_its_own_order_can_be_given_again(tmp_path):
    class Own(list):
        def __iter__(self):
            order = np.random.default_rng().permutation(len(self))
            return iter([self[i] for i in order])

    given = [(x, (y + i) % 2) for i, (x, y) in enumerate(batches(8))]
    run_on((Own(given), batches(1)), tmp_path)
    for _ in range(3):
        load_run(tmp_path / "run", data=(Own(given), batches(1)))


def test_data_of_other_steps_are_refused(tmp_path):
    run_on((batches(), batches(1)), tmp_path)
    other = [(x[:2], y) for x, y in batches()]
    with pytest.raises(SigpropError, match="data have 2 steps, but the run learned with 3"):
        resume(tmp_path / "run", quiet, epochs=4, data=(other, other[:1]))


def test_loaders_train_a_run_that_says_its_data_came_from_outside(tmp_path):
    lines = []
    config = TrainConfig("bars", out=tmp_path / "run", **SETTINGS)
    trained = train(config, lines.append, data=loaders())
    assert any(line.startswith("bars: 40 training and 20 test samples, 3 steps;") for line in lines)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["own_data"], stored["dataset"], stored["batch_size"]) == (True, "bars", 10)
    assert (stored["steps"], trained.data.shape, trained.data.classes) == (3, (1, 6, 6), ("0", "1"))
    assert len(trained.history) == 2
    assert {path.name for path in draw_run(trained)} == {"raster.png", "voltage.png", "curves.png"}


def test_a_shuffling_loader_gives_the_same_run_again_and_leaves_the_callers_random_states(tmp_path):
    torch.manual_seed(5)
    one = run_on(loaders(), tmp_path, "one")
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert_same_weights(one, run_on(loaders(), tmp_path, "two"))


def test_a_stopped_run_on_a_shuffling_loader_resumes_to_the_same_weights(tmp_path, send_at):
    whole = run_on(loaders(), tmp_path, "whole")
    send_at(15, update=6 * 3)  # SIGTERM in the second epoch
    out = tmp_path / "stopped"
    with pytest.raises(RunStoppedError):
        train(TrainConfig("mine", out=out, **SETTINGS), quiet, data=loaders(), catch_signals=True)
    assert_same_weights(whole, resume(out, quiet, data=loaders()))


@pytest.mark.parametrize("ask", [resume, load_run])
def test_a_stored_run_asks_for_its_data(tmp_path, ask):
    run_on((batches(), batches(1)), tmp_path)
    with pytest.raises(SigpropError, match=r"'mine'.*data="):
        ask(tmp_path / "run")
    with pytest.raises(SigpropError, match=r"data of 'mine' have .* \[5\].*\[5\]|'train'"):
        ask(tmp_path / "run", data=(batches(3), batches(1)))
    assert ask(tmp_path / "run", data=(batches(), batches(1))).epoch == 2


def test_a_loaded_run_is_evaluated_reported_and_compared(tmp_path, no_pictures):
    data = (batches(), batches(1))
    trained = run_on(data, tmp_path)
    again = load_run(tmp_path / "run", data=data)
    assert evaluate(again.network, again.data.test).accuracy == pytest.approx(
        trained.summary["test_accuracy"], abs=0.2
    )
    page = write_report(tmp_path / "run", data=data).read_text()
    assert "mine" in page
    assert "could not be run again" not in page
    config = CompareConfig("mine", rules="voltage", seeds=1, epochs=1, out=tmp_path / "compare")
    assert compare(config, quiet, data=data).rows[0].accuracy is not None


def test_prepared_data_of_the_package_are_taken_as_they_are(tmp_path):
    data = load("digits", steps=3, batch_size=16, train_samples=48, test_samples=20)
    trained = run_on(data, tmp_path)
    assert trained.data.classes == data.classes
    assert trained.config.batch_size == 16


def test_one_iterable_is_also_the_test_data_and_the_run_says_so(tmp_path):
    lines = []
    train(TrainConfig("mine", out=tmp_path / "run", **SETTINGS), lines.append, data=batches())
    assert "no test data were given: the run is tested on its training samples" in lines


def test_validation_batches_choose_the_epoch(tmp_path):
    data = (batches(), batches(1), batches(2, seed=3))
    trained = run_on(data, tmp_path, patience=2)
    assert "validation_accuracy" in trained.history[0]


def test_numpy_and_integers_become_tensors(tmp_path):
    rows = [(np.ones((3, 4, 5), np.uint8) * k, np.arange(4) % 2) for k in (1, 2)]
    assert run_on(rows, tmp_path).data.train.samples == 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "data is 7"),
        ((x for x in batches()), "generator"),
        ([], "gives no batch"),
        ([torch.ones(3)], "Tensor"),
        ([(torch.ones(8, 3, 5), torch.zeros(8))], "batch 0 of train.*labels as float32"),
        ([(torch.ones(3, 8, 5), torch.full((8,), 0.5))], "float32"),
        ([(torch.ones(3, 8, 5), torch.tensor([-1] * 8))], "-1"),
        ([(torch.ones(3, 8, 5), torch.zeros(8).long())], "all 0"),
        ((batches(), [(torch.ones(3, 8, 6), torch.zeros(8).long())]), r"\[6\].*\[5\]"),
        ([*batches(1), (torch.ones(3, 8, 6), torch.zeros(8).long())], r"batch 1.*\[6\].*\[5\]"),
    ],
)
def test_unusable_data_are_named(tmp_path, data, message):
    with pytest.raises(SigpropError, match=message):
        run_on(data, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train_samples", 9),
        ("encoding", "rate"),
        ("validation", 0.1),
        ("steps", 4),
        ("batch_size", 3),
    ],
)
def test_a_setting_that_has_no_effect_on_own_data_is_refused(tmp_path, setting, value):
    with pytest.raises(SigpropError, match=f"{setting} is {value!r}"):
        run_on(batches(), tmp_path, **{setting: value})


def test_data_for_a_run_of_a_named_data_set_are_refused(run_copy):
    with pytest.raises(SigpropError, match="'digits'; expected no data"):
        resume(run_copy, quiet, data=batches())
