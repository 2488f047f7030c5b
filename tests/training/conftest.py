"""A small finished run that tests read, copy and damage."""

import os
import shutil

import pytest

from sigprop_snn.network import Network
from sigprop_snn.training import LocalOptimizers, TrainConfig, progress, train


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A finished run of two epochs with a noisy neuron. Tests must not write to it."""
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
    """Return the content of every file in a folder, to show that nothing was written."""

    def content(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return content


@pytest.fixture
def send_at(monkeypatch):
    """Send a signal to this process at the n-th update of a layer or the n-th evaluated batch."""

    def set_up(number, *, update=None, judged=None):
        def after(owner, name, call, counts):
            real, calls = getattr(owner, name), [0]

            def sending(self, *args, **kwargs):
                calls[0] += counts(self)
                if calls[0] == call and counts(self):
                    calls[0] += 1
                    os.kill(os.getpid(), number)
                return real(self, *args, **kwargs)

            monkeypatch.setattr(owner, name, sending)

        if update is not None:
            after(LocalOptimizers, "step", update, lambda _: True)
        if judged is not None:
            after(Network, "stages", judged, lambda network: not network.training)

    return set_up


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Say no word for a long wait: the lines of a run must not depend on the machine's speed."""
    monkeypatch.setattr(progress, "SOON", 3600)
