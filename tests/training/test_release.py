"""Release files: a trained network with its recipe, its log and a known hash."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.training import PRETRAINED, Release, load_release, pretrained, write_release
from sigprop_snn.training.checkpoint import load_checkpoint, write_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = sp.TrainConfig(
        "digits", network="conv", epochs=1, steps=2, train_samples=40, test_samples=20,
        out=tmp_path_factory.mktemp("runs") / "run",
    )  # fmt: skip
    return sp.train(config, say=lambda _: None)


@pytest.fixture
def file(trained, tmp_path, monkeypatch):
    path = tmp_path / "files" / "small.pt"
    monkeypatch.setitem(PRETRAINED, "small", Release("a test", write_release(trained, path)))
    return path


def test_a_released_network_answers_as_the_trained_one(trained, file):
    released = pretrained("small", folder=file.parent)
    x, _ = next(iter(trained.data.test))
    assert torch.equal(released.network(x), trained.network(x))
    assert not released.network.training
    assert (released.name, released.shape, released.classes) == (
        "small", trained.data.shape, tuple(trained.data.classes)
    )  # fmt: skip
    assert released.history == trained.history and released.summary == trained.summary


def test_the_recipe_trains_the_same_network_again(trained, file, tmp_path):
    config = load_release(file).config
    assert (config.dataset, config.epochs, config.rule) == ("digits", 1, "voltage")
    assert str(tmp_path) not in str(config)


def test_the_hash_is_that_of_the_file(file):
    assert PRETRAINED["small"].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_with_another_hash_is_refused(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(sp.SigpropError, match=r"small\.pt.*SHA-256"):
        pretrained("small", folder=file.parent)


def test_the_folder_can_come_from_the_environment(file, monkeypatch):
    monkeypatch.setenv("SIGPROP_PRETRAINED", str(file.parent))
    assert pretrained("small").name == "small"


def test_a_missing_file_and_an_unknown_name_are_named(file, tmp_path):
    with pytest.raises(sp.SigpropError, match=r"small\.pt"):
        pretrained("small", folder=tmp_path)
    with pytest.raises(sp.SigpropError, match=r"'smal'.*small"):
        pretrained("smal", folder=file.parent)


def test_code_in_a_file_never_runs(tmp_path):
    sprung = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return open, (str(sprung), "w")

    path = tmp_path / "trap.pt"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(sp.SigpropError, match="trap"):
        load_release(path)
    write_checkpoint(path, {"network": Trap()})
    with pytest.raises(sp.SigpropError, match="trap"):
        load_release(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("release", 2),
        ("config", {"dataset": "digits", "nonsense": 1}),
        ("config", {}),
        ("shape", (1, 9)),
        ("classes", "ten"),
        ("network", {}),
    ],
)
def test_content_that_does_not_fit_is_refused_by_name(file, tmp_path, key, value):
    content = load_checkpoint(file) | {key: value}
    other = tmp_path / "other.pt"
    write_checkpoint(other, content)
    with pytest.raises(sp.SigpropError):
        load_release(other)


def test_a_checkpoint_of_a_run_is_no_release_file(trained):
    with pytest.raises(sp.SigpropError, match="release"):
        load_release(trained.folder.path / "checkpoint.pt")


def test_an_unfinished_run_is_not_released(trained, tmp_path):
    from dataclasses import replace

    with pytest.raises(sp.SigpropError, match="unfinished"):
        write_release(replace(trained, summary={}), tmp_path / "half.pt")
    assert list(tmp_path.iterdir()) == []


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_released_file_of_the_repository_is_the_one_that_is_known(name):
    if not (ROOT / "pretrained" / f"{name}.pt").exists():
        pytest.skip(f"the repository does not hold the release file of {name}")
    released = pretrained(name, folder=ROOT / "pretrained")
    accuracy = f"{100 * released.summary['test_accuracy']:.2f} %"
    assert accuracy in PRETRAINED[name].about
    assert len(released.history) == released.config.epochs


def test_the_released_digits_are_read_right():
    released = pretrained("digits", folder=ROOT / "pretrained")
    data = sp.load("digits", steps=released.config.steps, test_samples=100, train_samples=10)
    assert sp.evaluate(released.network, data.test).accuracy > 0.9
