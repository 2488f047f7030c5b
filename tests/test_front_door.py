"""`import sigprop_snn as sp` gives the names that people need, and loads them on use."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sigprop_snn as sp

STUB = Path(sp.__file__).with_suffix(".pyi")


def test_every_name_of_the_stub_is_there_and_no_other():
    stub = ast.parse(STUB.read_text(encoding="utf-8"))
    names = {alias.asname for node in stub.body for alias in node.names}
    assert names <= set(dir(sp))
    assert 40 <= len(names) <= 65
    for name in names:
        assert getattr(sp, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sp.nonsense


def test_a_network_is_made_trained_and_judged_by_the_front_door_alone():
    torch.manual_seed(0)
    data = sp.load("digits", steps=4, batch_size=64, train_samples=128, test_samples=64)
    network = sp.mlp(data.shape, len(data.classes), hidden=(20,), rule=sp.SurrogateRule())
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
    assert 0 <= sp.evaluate(network, data.test).accuracy <= 1


def test_importing_it_does_not_import_torch():
    code = (
        "import sys, sigprop_snn; assert 'torch' not in sys.modules; print(sigprop_snn.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sp.__version__
