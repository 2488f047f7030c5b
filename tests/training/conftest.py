"""A small finished run that tests read, copy and damage."""

import shutil

import pytest

from sigprop_snn.training import TrainConfig, train


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A finished run of two epochs with a noisy neuron; to be read, never written."""
    out = tmp_path_factory.mktemp("small") / "run"
    config = TrainConfig(
        "digits", network="conv", neuron="lif-noise", epochs=2, steps=4, batch_size=20,
        train_samples=60, test_samples=40, device="cpu", out=out,
    )  # fmt: skip
    return train(config, say=lambda _: None)


@pytest.fixture
def run_copy(small_run, tmp_path):
    """A copy of the small run's folder."""
    return shutil.copytree(small_run.folder.path, tmp_path / "run")


@pytest.fixture(scope="session")
def content_of():
    """Tells what every file of a folder holds, to see that nothing was written."""

    def content(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return content
